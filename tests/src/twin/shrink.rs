//! Fewer steps that fail as well.

use super::Step;

/// Leaves out steps for as long as `fails` says that the rest fails, trying at most `tries` times.
pub fn shrink(steps: &[Step], mut tries: u32, fails: &mut dyn FnMut(&[Step]) -> bool) -> Vec<Step> {
    let mut kept = steps.to_vec();
    let mut size = kept.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        let mut shorter = false;
        while at < kept.len() && tries > 0 {
            let end = (at + size).min(kept.len());
            let fewer = [&kept[..at], &kept[end..]].concat();
            tries -= 1;
            if fails(&fewer) {
                kept = fewer;
                shorter = true;
            } else {
                at = end;
            }
        }
        if tries == 0 {
            break;
        }
        size = if size == 1 && shorter { 1 } else { size / 2 };
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::{parse_steps, print_steps};

    #[test]
    fn what_is_not_needed_goes() {
        let steps = parse_steps("f,w@0+1,f,o,g+512,x,d@0+9,f").expect("steps");
        let mut fails = |steps: &[Step]| {
            let text = print_steps(steps);
            text.contains("w@0+1") && text.contains('x')
        };
        assert_eq!(print_steps(&shrink(&steps, 1000, &mut fails)), "w@0+1,x");
        assert_eq!(shrink(&steps, 0, &mut fails), steps);
    }
}
