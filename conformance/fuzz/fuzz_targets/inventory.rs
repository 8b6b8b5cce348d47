#![no_main]

use certgate::{
    domain::source::entry::{Columns, Entry, columns},
    wire::inventory::Inventory,
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(inventory) = Inventory::read(bytes) else { return };
    let Ok(columns) = columns(&inventory, &Columns::new()) else { return };
    let mut rows = 0;
    inventory.each_row(&mut |row| {
        rows += 1;
        assert_eq!(Entry::read(&row, &columns).line, row.line);
    });
    assert_eq!(inventory.rows, rows);
});
