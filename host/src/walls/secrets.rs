//! What was typed and what stands in the environment, which everybody who may look at this process could read there.

use std::{env, fs, io, ops::Range, slice};

/// Moves the environment to memory that the system does not show, and blots out the passwords of the command line's URLs. The
/// program itself sees no difference, but for those passwords.
///
/// # Safety
///
/// This must be the only thread.
pub unsafe fn hide() -> io::Result<()> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (arguments, environment) =
        places(&stat).ok_or_else(|| io::Error::other("/proc/self/stat is short"))?;
    for (name, value) in env::vars_os() {
        // SAFETY: the caller promises that no other thread looks. The C library makes a copy.
        unsafe { env::set_var(name, value) };
    }
    // SAFETY: it is this process's own memory, where the kernel has put the strings; it is written to by nobody else. The
    // environment has just moved away from it.
    unsafe { bytes(environment) }.fill(0);
    // SAFETY: as above. Each string keeps its length and its end, so that it can still be read.
    let arguments = unsafe { bytes(arguments) };
    arguments.split_mut(|byte| *byte == 0).for_each(blot_out);
    Ok(())
}

/// Takes a variable out of the environment.
///
/// # Safety
///
/// This must be the only thread.
pub unsafe fn take(name: &str) -> Option<String> {
    let value = env::var(name).ok();
    // SAFETY: the caller promises that no other thread looks.
    unsafe { env::remove_var(name) };
    value
}

/// Where the kernel has put arguments and environment.
fn places(stat: &str) -> Option<(Range<usize>, Range<usize>)> {
    // The second field is the program's name in parentheses, and may have any characters; the next is the third.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<usize>().ok();
    let place =
        |begin, end| Some(field(begin)?..field(end)?).filter(|place| place.start > 0 && !place.is_empty());
    Some((place(48, 49)?, place(50, 51).unwrap_or(0..0)))
}

/// # Safety
///
/// The place must be memory of this process that nothing else refers to.
unsafe fn bytes(place: Range<usize>) -> &'static mut [u8] {
    if place.is_empty() {
        return &mut [];
    }
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts_mut(std::ptr::with_exposed_provenance_mut(place.start), place.len()) }
}

/// Puts stars in the place of the password in a URL, and of all that stands before the `@` if it has no colon.
fn blot_out(argument: &mut [u8]) {
    let Some(begin) = argument.windows(3).position(|three| three == b"://").map(|at| at + 3) else { return };
    let server = argument[begin..].iter().position(|byte| b"/?#".contains(byte));
    let end = server.map_or(argument.len(), |length| begin + length);
    // A password may have an `@` in it, and in one that is not encoded the slash comes too early.
    let Some(at) = argument[begin..].iter().rposition(|byte| *byte == b'@').map(|at| begin + at) else {
        return;
    };
    let colon = argument[begin..at.min(end)].iter().position(|byte| *byte == b':');
    argument[colon.map_or(begin, |colon| begin + colon + 1)..at].fill(b'*');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_urls_become_stars() {
        for (typed, shown) in [
            ("redis://:secret@box:6379/0", "redis://:******@box:6379/0"),
            ("--broker=rediss://me:secret@box", "--broker=rediss://me:******@box"),
            ("redis://me:p@ss/wo:rd@box/0", "redis://me:**********@box/0"),
            ("redis://token@box", "redis://*****@box"),
            ("redis://box:6379/0", "redis://box:6379/0"),
            ("redis+socket://:s@/run/redis.sock", "redis+socket://:*@/run/redis.sock"),
            ("celery@box", "celery@box"),
            ("sqlite:/var/a", "sqlite:/var/a"),
            ("", ""),
        ] {
            let mut bytes = typed.as_bytes().to_vec();
            blot_out(&mut bytes);
            assert_eq!(String::from_utf8(bytes).unwrap(), shown);
        }
    }

    #[test]
    fn the_kernel_says_where_the_strings_are() {
        let (arguments, _) = places(&fs::read_to_string("/proc/self/stat").unwrap()).unwrap();
        assert!(arguments.len() >= env::args_os().next().unwrap().len());
        assert_eq!(places("1 (a) b) S 1"), None);
    }
}
