// SPDX-License-Identifier: BSD-2-Clause
//! Writes the seeds of each target into a subfolder with the target's name, and prints
//! the largest input size of each target.

use std::fs;
use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1);
    let folder = PathBuf::from(folder.expect("usage: seeds FOLDER"));
    for target in rusttcti_fuzz::TARGETS {
        let folder = folder.join(target.name);
        fs::create_dir_all(&folder)?;
        for (at, seed) in rusttcti_fuzz::seeds(target.name).iter().enumerate() {
            fs::write(folder.join(format!("seed-{at:02}")), seed)?;
        }
        println!("{} {}", target.name, target.max_len);
    }
    Ok(())
}
