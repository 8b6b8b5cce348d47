#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| certgate_fuzz::targets::ldap(bytes));
