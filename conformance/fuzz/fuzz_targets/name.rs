#![no_main]

use certgate::wire::x509::Name;

// What a name is shown as is read as the same name, or not at all (`C=#..` may hold what `C=..` may not).
libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(name) = text.parse::<Name>() else { return };
    if let Ok(again) = name.to_string().parse::<Name>() {
        assert!(again.matches(&name), "{name} is not {again}");
    }
});
