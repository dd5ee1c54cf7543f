//! Runs targets without a fuzzer: `replay` feeds each file of `corpus/TARGET` to its target, `replay TARGET`
//! does so for one, `replay TARGET FILE…` feeds only these files.

use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs, io, panic};

use aries_fuzz::{TARGETS, run};

fn replay(target: &str, files: &[PathBuf]) -> io::Result<()> {
    let began = Instant::now();
    let mut slowest = (0.0, None);
    for file in files {
        let bytes = fs::read(file)?;
        let began = Instant::now();
        if let Err(panic) = panic::catch_unwind(|| run(target, &bytes)) {
            eprintln!("{} fails", file.display());
            panic::resume_unwind(panic);
        }
        let seconds = began.elapsed().as_secs_f64();
        if seconds > slowest.0 {
            slowest = (seconds, Some(file));
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let slowest = slowest.1.map_or(String::new(), |file| {
        format!(", the slowest {:.3} s: {}", slowest.0, file.display())
    });
    println!("{target}: {} inputs in {seconds:.1} s{slowest}", files.len());
    Ok(())
}

fn corpus(target: &str) -> io::Result<Vec<PathBuf>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let entries = fs::read_dir(corpus)?.collect::<io::Result<Vec<_>>>()?;
    let mut files: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
    files.sort();
    Ok(files)
}

fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1);
    let Some(target) = arguments.next() else {
        return TARGETS.iter().try_for_each(|target| replay(target.name, &corpus(target.name)?));
    };
    let files: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    let files = if files.is_empty() { corpus(&target)? } else { files };
    replay(&target, &files)
}
