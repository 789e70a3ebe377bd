//! libFuzzer on one of the parsers of `quorate::testing::fuzz`: `FUZZ_TARGET` names it; without, this lists their names.
//! `FUZZ_SEEDS` names a folder that honest inputs are written to first. See `make fuzz`.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use quorate::testing::fuzz::{Target, targets};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let Some(target) = targets().into_iter().find(|target| target.name == name) else {
        // Asked for none that there is: these are they.
        targets().iter().for_each(|target| println!("{}", target.name));
        std::process::exit(i32::from(!name.is_empty()));
    };
    // Where libFuzzer looks for what it knows already.
    if let Some(folder) = std::env::var_os("FUZZ_SEEDS").map(PathBuf::from) {
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed).expect("failed to write a seed");
        }
    }
    target
});

fuzz_target!(init: { LazyLock::force(&TARGET); }, |input: &[u8]| { (TARGET.run)(input); });
