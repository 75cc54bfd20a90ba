//! Files of the user's, written or changed in place.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Replaces what a file holds, whole or not at all: whoever reads it, and whoever is interrupted,
/// meets the old text or the new one.
///
/// A symbolic link stays one and leads to the replaced file; owner and permissions stay.
///
/// # Errors
/// The file is write-protected or gone, its folder cannot be written to, or the disk is full. It is
/// as before then.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let before = fs::metadata(&path)?;
    if !before.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if before.permissions().readonly() {
        let problem = "it is write-protected";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, problem));
    }
    let folder = path
        .parent()
        .ok_or_else(|| io::Error::other("it is in no folder"))?;
    let mut file = tempfile::Builder::new()
        .prefix(".kmirror-")
        .tempfile_in(folder)?;
    file.write_all(content)?;
    keep_owner(file.as_file(), &before)?;
    file.as_file().set_permissions(before.permissions())?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    Ok(())
}

/// Writes a file whole or not at all: a new one, with the permissions that the user's new files have, or another text for
/// one that is there.
///
/// # Errors
/// As for [`replace`].
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    // The user's umask takes from these.
    write_with(path, content, 0o666)
}

/// The same for what nobody else should read: a new file is its owner's alone. One that is there keeps its permissions.
///
/// # Errors
/// As for [`replace`].
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    write_with(path, content, 0o600)
}

fn write_with(path: &Path, content: &[u8], permissions: u32) -> io::Result<()> {
    if path.symlink_metadata().is_ok() {
        return replace(path, content);
    }
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".kmirror-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(permissions));
    }
    #[cfg(not(unix))]
    let _ = permissions;
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    Ok(())
}

#[cfg(unix)]
fn keep_owner(file: &fs::File, before: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    let made = file.metadata()?;
    let differs = |made: u32, before: u32| (made != before).then_some(before);
    match (
        differs(made.uid(), before.uid()),
        differs(made.gid(), before.gid()),
    ) {
        (None, None) => Ok(()),
        (owner, group) => fchown(file, owner, group).map_err(|error| {
            let problem =
                format!("it belongs to another user or group and cannot be given back: {error}");
            io::Error::new(error.kind(), problem)
        }),
    }
}

#[cfg(not(unix))]
fn keep_owner(_: &fs::File, _: &fs::Metadata) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_replaced_file_keeps_its_permissions_and_the_links_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let link = folder.path().join("link");
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("file", &link).unwrap();
        let before = fs::metadata(&file).unwrap();
        replace(&link, b"new").unwrap();
        let after = fs::metadata(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(after.mode(), before.mode());
        assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_new_file_has_the_permissions_of_the_users_files() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        write(&ours, b"one").unwrap();
        fs::write(&plain, "one").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode();
        assert_eq!(mode(&ours), mode(&plain));
        write(&ours, b"two").unwrap();
        assert_eq!(fs::read_to_string(&ours).unwrap(), "two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        assert!(write(&folder.path().join("absent/file"), b"").is_err());
    }

    #[test]
    fn a_private_file_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        write_private(&file, b"one").unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        write_private(&file, b"two").unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&file).unwrap(), "two");
    }

    #[test]
    fn what_cannot_be_replaced_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
        let refused = replace(&file, b"new").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(fs::read_to_string(&file).unwrap(), "old");
        assert!(replace(folder.path(), b"new").is_err());
        assert!(replace(&folder.path().join("absent"), b"new").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
