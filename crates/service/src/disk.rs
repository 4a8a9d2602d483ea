//! How much room there is.

use std::path::Path;

use sysinfo::Disks;

/// Of the disk that holds the folder, or will.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let folder = std::path::absolute(folder).ok()?;
    let there = folder
        .ancestors()
        .find_map(|path| path.canonicalize().ok())?;
    let disks = Disks::new_with_refreshed_list().ok()?;
    let holding = disks
        .iter()
        .filter(|disk| there.starts_with(disk.mount_point()));
    let nearest = holding.max_by_key(|disk| disk.mount_point().components().count())?;
    Some(nearest.available_space())
}

#[cfg(test)]
mod tests {
    use super::free_bytes;

    #[test]
    fn a_folder_that_is_not_made_yet_is_on_a_disk_too() {
        let dir = tempfile::tempdir().unwrap();
        assert!(free_bytes(dir.path()).is_some());
        assert!(free_bytes(&dir.path().join("a/b")).is_some());
    }
}
