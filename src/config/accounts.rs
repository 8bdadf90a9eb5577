//! Users and groups of this host, as its files name them.

/// The id of a user, and that of its group.
pub(crate) fn user(name: &str) -> Option<(u32, Option<u32>)> {
    lookup("/etc/passwd", name)
}

/// The id of a group.
pub(crate) fn group(name: &str) -> Option<u32> {
    lookup("/etc/group", name).map(|ids| ids.0)
}

/// Third and fourth field of the line of `name` in a passwd-like file.
fn lookup(file: &str, name: &str) -> Option<(u32, Option<u32>)> {
    find_account(&std::fs::read_to_string(file).ok()?, name)
}

fn find_account(table: &str, name: &str) -> Option<(u32, Option<u32>)> {
    let line = table.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    let id = fields.next()?.parse().ok()?;
    Some((id, fields.next().and_then(|gid| gid.parse().ok())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_their_whole_name() {
        let table = "root:x:0:0:root:/root:/bin/sh\nhaproxy2:x:7:8::/:/bin/false\nhaproxy:x:107:113::/:/bin/false\n";
        assert_eq!(find_account(table, "haproxy"), Some((107, Some(113))));
        assert_eq!(find_account(table, "hap"), None);
        assert_eq!(find_account("smartstack:x:1001:a,b\n", "smartstack"), Some((1001, None)));
    }
}
