//! The program `aries`.

fn main() {}
