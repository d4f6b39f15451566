//! Lists are told in pages.

use super::problem::Problem;

/// How many there are on a page, if nothing is said, and at most.
const USUAL: usize = 100;
const MOST: usize = 1_000;

/// How many things come before the page, and how many are on it.
pub fn bounds(cursor: Option<&str>, limit: Option<usize>) -> Result<(usize, usize), Problem> {
    let most = limit_of(limit)?;
    let skip = match cursor {
        None => 0,
        Some(cursor) => {
            let skip = cursor.parse::<u32>().map_err(|_| bad_cursor())?;
            usize::try_from(skip).map_err(|_| bad_cursor())?
        }
    };
    Ok((skip, most))
}

/// How many are on the page.
pub fn limit_of(limit: Option<usize>) -> Result<usize, Problem> {
    let most = limit.unwrap_or(USUAL);
    let fits = (1..=MOST).contains(&most);
    fits.then_some(most).ok_or_else(|| Problem::invalid("limit", format!("a limit is 1 to {MOST}")))
}

/// A cursor that is none of ours.
pub fn bad_cursor() -> Problem {
    Problem::invalid("cursor", "a cursor is what an answer before has called `next`")
}
