// SPDX-License-Identifier: BSD-2-Clause
//! Localities.

use super::support::{checks, exchange, expect, expect_one_of, of_tcti};
use crate::conformance::{NotPassed, Subject, Verdict};
use crate::vtable::rc;

checks! {
    "localities-0-to-4": "setLocality of 0 to 4 is taken or refused, and commands go on." => zero_to_four,
    "localities-that-no-tpm-has": "setLocality of 5 to 31 is TSS2_TCTI_RC_BAD_VALUE." => that_no_tpm_has,
    "locality-back-to-0": "After another locality, 0 can be set again." => back_to_zero,
}

const ANSWERS: [u32; 5] = [
    rc::SUCCESS,
    rc::NOT_IMPLEMENTED,
    rc::BAD_VALUE,
    rc::NOT_PERMITTED,
    rc::IO_ERROR,
];

fn zero_to_four(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    for locality in 0..=4 {
        let code = opened.c.set_locality(locality);
        expect_one_of(&format!("setLocality({locality})"), code, &ANSWERS)?;
        if code == rc::SUCCESS {
            exchange(opened.c, 4)?;
        }
    }
    expect_one_of("setLocality(0)", opened.c.set_locality(0), &ANSWERS)?;
    exchange(opened.c, 4)
}

fn that_no_tpm_has(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    if of_tcti(opened.c.set_locality(0)) == rc::NOT_IMPLEMENTED {
        return Err(NotPassed::NotApplicable("it has no localities".to_owned()));
    }
    for locality in [5, 31] {
        let code = opened.c.set_locality(locality);
        expect(&format!("setLocality({locality})"), code, rc::BAD_VALUE)?;
    }
    exchange(opened.c, 4)
}

fn back_to_zero(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    if opened.c.set_locality(3) != rc::SUCCESS {
        return Err(NotPassed::NotApplicable("it has no locality 3".to_owned()));
    }
    exchange(opened.c, 4)?;
    expect("setLocality(0)", opened.c.set_locality(0), rc::SUCCESS)?;
    exchange(opened.c, 4)
}
