//! System calls: which of them this process may still make. What it may not make fails as if it had not the right to.

use std::{collections::BTreeMap, io};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter_all_threads, sock_filter,
};

/// What a process that compiles needs: memory, threads, time, and the two streams that it has already.
const OF_COMPILING: &[i64] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_lseek,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_sysinfo,
    libc::SYS_restart_syscall,
];

/// What no part of a worker needs: other programs and processes, the machine itself, and the younger or rarer parts of the
/// kernel, where its holes have been.
const NOT_OF_A_WORKER: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    libc::SYS_personality,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
];

/// Leaves what compiling needs, to all threads and for good.
pub(super) fn compiling_only() -> io::Result<()> {
    let mut rules: BTreeMap<_, _> = OF_COMPILING.iter().map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_clone, vec![clone_of_a(Made::Thread)?]);
    // The names of threads and of memory; everything else that `prctl` does is about rights.
    let naming = |what| rule(&[(0, SeccompCmpOp::Eq, what)]);
    rules.insert(libc::SYS_prctl, vec![naming(libc::PR_SET_NAME as u64)?, naming(libc::PR_SET_VMA as u64)?]);
    // A process looks at and sets its own limits with this, and those of others.
    rules.insert(libc::SYS_prlimit64, vec![rule(&[(0, SeccompCmpOp::Eq, 0), (2, SeccompCmpOp::Eq, 0)])?]);
    // The last, as it also takes away what filters are set by.
    clone3_is_unknown()?;
    other_numbers_are_refused()?;
    apply(rules, refused(), SeccompAction::Allow)
}

/// Takes away what no part of a worker needs, from all threads and for good.
pub(super) fn not_of_a_worker() -> io::Result<()> {
    let mut rules: BTreeMap<_, _> = NOT_OF_A_WORKER.iter().map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_clone, vec![clone_of_a(Made::Process)?]);
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    let families = families.map(|family| (0, SeccompCmpOp::Ne, family as u64));
    rules.insert(libc::SYS_socket, vec![rule(&families)?]);
    // Puts characters into the terminal as if they had been typed.
    rules.insert(libc::SYS_ioctl, vec![rule(&[(1, SeccompCmpOp::Eq, libc::TIOCSTI)])?]);
    apply(rules, SeccompAction::Allow, refused())?;
    clone3_is_unknown()?;
    other_numbers_are_refused()
}

enum Made {
    Thread,
    Process,
}

fn clone_of_a(made: Made) -> io::Result<SeccompRule> {
    let thread = libc::CLONE_THREAD as u64;
    let flag = match made {
        Made::Thread => thread,
        Made::Process => 0,
    };
    rule(&[(0, SeccompCmpOp::MaskedEq(thread), flag)])
}

/// Its flags are in memory, where no filter can look. The C library then takes `clone`.
fn clone3_is_unknown() -> io::Result<()> {
    let rules = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    apply(rules, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32))
}

/// On x86-64 each call has a second number, by which it would pass a list of numbers.
fn other_numbers_are_refused() -> io::Result<()> {
    const SECOND_NUMBERS: u32 = 0x4000_0000;
    if !cfg!(target_arch = "x86_64") {
        return Ok(());
    }
    let statement = |code: u32, jf, k| sock_filter { code: code as u16, jt: 0, jf, k };
    let refused = u32::from(refused());
    let program: BpfProgram = vec![
        // The number is the first word of what a filter sees.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, SECOND_NUMBERS),
        statement(libc::BPF_RET | libc::BPF_K, 0, refused),
        statement(libc::BPF_RET | libc::BPF_K, 0, u32::from(SeccompAction::Allow)),
    ];
    apply_filter_all_threads(&program).map_err(io::Error::other)
}

fn refused() -> SeccompAction {
    SeccompAction::Errno(libc::EPERM as u32)
}

fn rule(conditions: &[(u8, SeccompCmpOp, u64)]) -> io::Result<SeccompRule> {
    let condition = |(argument, operation, value): &(u8, SeccompCmpOp, u64)| {
        SeccompCondition::new(*argument, SeccompCmpArgLen::Qword, operation.clone(), *value)
    };
    let conditions = conditions.iter().map(condition).collect::<Result<Vec<_>, _>>();
    conditions.and_then(SeccompRule::new).map_err(io::Error::other)
}

fn apply(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matching: SeccompAction,
) -> io::Result<()> {
    let machine = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let filter = SeccompFilter::new(rules, otherwise, matching, machine).map_err(io::Error::other)?;
    let program = BpfProgram::try_from(filter).map_err(io::Error::other)?;
    apply_filter_all_threads(&program).map_err(io::Error::other)
}
