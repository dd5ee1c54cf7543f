#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| aries_fuzz::run("log_record", bytes));
