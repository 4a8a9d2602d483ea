//! What the worker asks of the operating system and the standard library does not offer: the real
//! standard output, a clock that runs on in sleep, pages of files in memory, its own footprint.
//!
//! The crate's second unsafe module beside `device`: that one speaks C with MLX, this one with the
//! kernel, and neither has business with the other.

#![expect(unsafe_code, reason = "system calls")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::ptr;
use std::time::Duration;

/// Takes standard output for the caller alone and points descriptor 1 at standard error, so that
/// nothing that a library prints can get between frames.
pub fn claim_stdout() -> io::Result<File> {
    // SAFETY: descriptor 1 is duplicated, not taken; a bad one is an error, not undefined.
    let copy = check(unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: `copy` was just made and nothing else owns it.
    let copy = unsafe { OwnedFd::from_raw_fd(copy) };
    // SAFETY: both descriptors are plain numbers; std keeps no state about descriptor 1.
    check(unsafe { libc::dup2(libc::STDERR_FILENO, libc::STDOUT_FILENO) })?;
    Ok(File::from(copy))
}

/// Ends the process without running destructors: another thread may be inside MLX, whose static
/// destructors would pull the ground from under it.
pub fn exit_now(code: u8) -> ! {
    // SAFETY: ends the process; there is no state left to protect.
    unsafe { libc::_exit(i32::from(code)) }
}

/// Asks for the cores and clocks of work that a user waits for, for this thread: without it macOS
/// may run it on the small cores.
#[cfg(target_os = "macos")]
pub fn be_urgent() {
    // SAFETY: changes the calling thread's class only; a refusal leaves the default in force.
    unsafe { libc::pthread_set_qos_class_self_np(libc::qos_class_t::QOS_CLASS_USER_INITIATED, 0) };
}

/// Asks for the cores and clocks of work that a user waits for: other systems have one kind.
#[cfg(not(target_os = "macos"))]
pub fn be_urgent() {}

/// Raises the limit of open files as far as the system lets us: MLX holds every shard of a model open
/// until its tensors are read, and macOS starts with 256.
pub fn allow_many_files() {
    const WANTED: libc::rlim_t = 8192;
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid place for the answer and then the question; a refusal changes nothing.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 && limit.rlim_cur < WANTED {
            limit.rlim_cur = WANTED.min(limit.rlim_max);
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// A monotonic clock that counts the time that the machine sleeps, unlike `Instant`.
pub fn continuous_now() -> Duration {
    #[cfg(target_os = "macos")]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;
    #[cfg(not(target_os = "macos"))]
    const CLOCK: libc::clockid_t = libc::CLOCK_BOOTTIME;
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is a valid place for the answer, and the clock exists on every system we run on.
    unsafe { libc::clock_gettime(CLOCK, &raw mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// A file mapped for reading; no page of it is touched.
struct Mapping {
    address: *mut libc::c_void,
    bytes: usize,
}

impl Mapping {
    fn new(file: &File, bytes: usize) -> io::Result<Self> {
        // SAFETY: a fresh mapping of a file that is open; its content is never read through it.
        let address = unsafe {
            let fd = file.as_raw_fd();
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ,
                libc::MAP_SHARED,
                fd,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { address, bytes })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped, and nothing borrows from it.
        unsafe { libc::munmap(self.address, self.bytes) };
    }
}

/// Pages of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    pub resident: u64,
    pub total: u64,
}

/// How many of a file's pages are in memory.
pub fn resident_pages(file: &File) -> io::Result<Pages> {
    let bytes = file.metadata()?.len() as usize;
    if bytes == 0 {
        return Ok(Pages::default());
    }
    let mapping = Mapping::new(file, bytes)?;
    // SAFETY: asks for a constant of the system.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    let mut pages = vec![0_u8; bytes.div_ceil(page_bytes)];
    // SAFETY: the mapping is `bytes` long and the vector holds one byte for each of its pages.
    check(unsafe { libc::mincore(mapping.address, bytes, pages.as_mut_ptr().cast()) })?;
    // The lowest bit says "in memory" on every system; macOS uses the others for more.
    let resident = pages.iter().filter(|&&page| page & 1 == 1).count() as u64;
    Ok(Pages {
        resident,
        total: pages.len() as u64,
    })
}

/// Asks the kernel to forget a file's clean pages.
#[cfg(target_os = "macos")]
pub fn evict_pages(file: &File) -> io::Result<()> {
    let bytes = file.metadata()?.len() as usize;
    if bytes == 0 {
        return Ok(());
    }
    let mapping = Mapping::new(file, bytes)?;
    for (offset, bytes) in pieces(bytes) {
        // SAFETY: the piece lies in the mapping; invalidating drops cached pages that no one has changed.
        check(unsafe {
            let address = mapping.address.byte_add(offset);
            libc::msync(address, bytes, libc::MS_INVALIDATE)
        })?;
    }
    Ok(())
}

/// Offset and length of what is forgotten at once: macOS takes no more than 16 GiB. Each begins on a page.
#[cfg(any(target_os = "macos", test))]
fn pieces(bytes: usize) -> impl Iterator<Item = (usize, usize)> {
    const PIECE: usize = 8 << 30;
    (0..bytes)
        .step_by(PIECE)
        .map(move |offset| (offset, PIECE.min(bytes - offset)))
}

/// Asks the kernel to forget a file's clean pages.
#[cfg(not(target_os = "macos"))]
pub fn evict_pages(file: &File) -> io::Result<()> {
    // SAFETY: advice about an open file, from its start to its end.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// The process's memory as the system sees it, in bytes; None: the system does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// What only this process keeps in memory. macOS: the physical footprint; Linux: anonymous and
    /// shared memory with what of it is swapped.
    pub now_bytes: Option<u64>,
    pub max_bytes: Option<u64>,
    pub resident_bytes: Option<u64>,
}

#[cfg(target_os = "macos")]
pub fn footprint() -> Footprint {
    let mut usage = std::mem::MaybeUninit::<libc::rusage_info_v4>::zeroed();
    // SAFETY: the buffer is of the flavour asked for, and all zeros is a valid value of it.
    let usage = unsafe {
        let buffer = usage.as_mut_ptr().cast();
        if libc::proc_pid_rusage(libc::getpid(), libc::RUSAGE_INFO_V4, buffer) != 0 {
            return Footprint::default();
        }
        usage.assume_init()
    };
    Footprint {
        now_bytes: Some(usage.ri_phys_footprint),
        max_bytes: Some(usage.ri_lifetime_max_phys_footprint),
        resident_bytes: Some(usage.ri_resident_size),
    }
}

#[cfg(not(target_os = "macos"))]
pub fn footprint() -> Footprint {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        return Footprint::default();
    };
    let bytes = |key| Some(kibibytes(&status, key)? * 1024);
    Footprint {
        now_bytes: bytes("RssAnon").map(|anonymous| {
            anonymous + bytes("RssShmem").unwrap_or(0) + bytes("VmSwap").unwrap_or(0)
        }),
        // The kernel keeps the largest resident size (VmHWM) only, which counts the files' pages.
        max_bytes: None,
        resident_bytes: bytes("VmRSS"),
    }
}

/// Bytes of swap in use on the whole machine; None: the system does not tell.
#[cfg(target_os = "macos")]
pub fn swap_used_bytes() -> Option<u64> {
    let mut usage = std::mem::MaybeUninit::<libc::xsw_usage>::zeroed();
    let mut bytes = size_of::<libc::xsw_usage>();
    // SAFETY: the name is NUL-terminated, and the buffer is of the type and size that it answers with.
    let usage = unsafe {
        let status = libc::sysctlbyname(
            c"vm.swapusage".as_ptr(),
            usage.as_mut_ptr().cast(),
            &raw mut bytes,
            ptr::null_mut(),
            0,
        );
        if status != 0 {
            return None;
        }
        usage.assume_init()
    };
    Some(usage.xsu_used)
}

/// Bytes of swap in use on the whole machine; None: the system does not tell.
#[cfg(not(target_os = "macos"))]
pub fn swap_used_bytes() -> Option<u64> {
    let memory = std::fs::read_to_string("/proc/meminfo").ok()?;
    let bytes = |key| Some(kibibytes(&memory, key)? * 1024);
    bytes("SwapTotal")?.checked_sub(bytes("SwapFree")?)
}

/// A figure of one of the kernel's lists, which are in KiB.
#[cfg(not(target_os = "macos"))]
fn kibibytes(list: &str, key: &str) -> Option<u64> {
    let line = list
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The shared libraries that this process has really loaded.
#[cfg(target_os = "macos")]
pub fn loaded_libraries() -> Vec<PathBuf> {
    use std::ffi::{CStr, OsStr, c_char};
    use std::os::unix::ffi::OsStrExt;

    unsafe extern "C" {
        fn _dyld_image_count() -> u32;
        fn _dyld_get_image_name(index: u32) -> *const c_char;
    }

    // SAFETY: the loader's list; an index beyond its end gives null, which is left out.
    let names =
        unsafe { 0.._dyld_image_count() }.map(|index| unsafe { _dyld_get_image_name(index) });
    names
        .filter(|name| !name.is_null())
        // SAFETY: the loader's names are NUL-terminated and live as long as their image.
        .map(|name| {
            PathBuf::from(OsStr::from_bytes(
                unsafe { CStr::from_ptr(name) }.to_bytes(),
            ))
        })
        .collect()
}

/// The shared libraries that this process has really loaded.
#[cfg(not(target_os = "macos"))]
pub fn loaded_libraries() -> Vec<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mut libraries: Vec<PathBuf> = maps
        .lines()
        .filter_map(|line| line.find('/').map(|at| PathBuf::from(&line[at..])))
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().contains(".so"))
        })
        .collect();
    libraries.dedup();
    libraries
}

fn check(status: libc::c_int) -> io::Result<libc::c_int> {
    if status == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(status)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn pages_of_a_file_are_counted_and_forgotten() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&vec![7; 1 << 20]).unwrap();
        file.as_file().sync_all().unwrap();
        let all = resident_pages(file.as_file()).unwrap();
        assert_eq!(all.resident, all.total, "just written");
        assert!(all.total >= 64);
        evict_pages(file.as_file()).unwrap();
        let after = resident_pages(file.as_file()).unwrap();
        assert_eq!(after.total, all.total);
        // A file system that lives in memory has nowhere to put them.
        let in_memory = resident_pages(file.as_file()).unwrap() == all;
        assert!(after.resident == 0 || in_memory, "{after:?}");
    }

    #[test]
    fn a_large_file_is_forgotten_in_pieces_without_a_gap() {
        const GIB: usize = 1 << 30;
        let all = |bytes| pieces(bytes).collect::<Vec<_>>();
        assert_eq!(all(1), [(0, 1)]);
        assert_eq!(all(8 * GIB), [(0, 8 * GIB)]);
        let expected = [(0, 8 * GIB), (8 * GIB, 8 * GIB), (16 * GIB, GIB + 7)];
        assert_eq!(all(17 * GIB + 7), expected);
    }

    #[test]
    fn the_process_sees_its_own_size_and_libraries() {
        let footprint = footprint();
        assert!(footprint.now_bytes.unwrap() > 100_000);
        assert!(footprint.resident_bytes.unwrap() > 100_000);
        let names: Vec<_> = loaded_libraries()
            .iter()
            .filter_map(|path| {
                path.file_name()
                    .map(|name| name.to_string_lossy().into_owned())
            })
            .collect();
        assert!(
            names.iter().any(|name| name.starts_with("libmlx")),
            "{names:?}"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn swap_in_use_is_what_is_there_less_what_is_free() {
        let list = "MemFree:  5 kB\nSwapTotal:    2097148 kB\nSwapFree: 97148 kB\n";
        assert_eq!(kibibytes(list, "SwapTotal"), Some(2_097_148));
        assert_eq!(kibibytes(list, "Swap"), None);
        // The kernel of this machine tells, be it that there is none.
        assert!(swap_used_bytes().is_some());
    }

    #[test]
    fn the_continuous_clock_only_grows() {
        let first = continuous_now();
        assert!(first > Duration::ZERO);
        assert!(continuous_now() >= first);
    }
}
