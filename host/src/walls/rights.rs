//! What a process may do and take beyond what it does: rights of the system, and limits on itself.

use std::{io, time::Duration};

use rustix::{
    process::{
        DumpableBehavior, Resource, Rlimit, Signal, geteuid, nice, set_dumpable_behavior,
        set_parent_process_death_signal, setrlimit,
    },
    thread::{
        CapabilitySet, CapabilitySets, capability_is_in_bounding_set, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities,
    },
};

/// Open files of a process that compiles: its two streams and what its run-time opens at the start.
const FILES: u64 = 32;

/// No program that it starts can have more rights than it has.
pub(super) fn none_new() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// Its memory, with the secrets in it, goes into no file, and others of the same user cannot look into it.
pub(super) fn no_dumps() -> io::Result<()> {
    limit(Resource::Core, 0, 0)?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// What it writes is for this user alone.
pub(super) fn private_files() {
    // SAFETY: it sets a number of this process and cannot fail.
    unsafe { libc::umask(0o077) };
}

/// Whether it has the rights of root, or had them.
pub(super) fn is_root() -> bool {
    geteuid().is_root()
}

/// No right of root's is left, nor can one be had again. The bounding set stays with one who may not change it.
pub(super) fn no_capabilities() -> io::Result<()> {
    let one = |bit: u32| CapabilitySet::from_bits_retain(1 << bit);
    // The kernel says no to the first that it does not know.
    let known = (0..64).map(one).map_while(|one| Some((one, capability_is_in_bounding_set(one).ok()?)));
    let kept = known.filter(|(_, is_in)| *is_in).map(|(one, _)| remove_capability_from_bounding_set(one));
    let bounded = kept.collect::<Result<Vec<()>, _>>();
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    // Who has no capabilities needs no bound on them: nothing that it starts gets any.
    if is_root() { Ok(bounded.map(drop)?) } else { Ok(()) }
}

/// It is killed when the thread that started it has gone.
pub(super) fn end_with_parent() -> io::Result<()> {
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// At most so much address space and computing, hardly any files, and nobody waits because of it.
pub(super) fn modest(memory: u64, time: Duration) -> io::Result<()> {
    let seconds = time.as_secs().max(1);
    limit(Resource::As, memory, memory)?;
    // At the first limit it is told by a signal, from which can be seen what it died of.
    limit(Resource::Cpu, seconds, seconds + 1)?;
    limit(Resource::Nofile, FILES, FILES)?;
    limit(Resource::Fsize, 0, 0)?;
    nice(MODEST)?;
    Ok(())
}

/// How much a process that compiles stands back behind the tasks.
const MODEST: i32 = 5;

fn limit(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    Ok(setrlimit(resource, Rlimit { current: Some(soft), maximum: Some(hard) })?)
}
