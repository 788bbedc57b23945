//! Opening, comparing, creating and entering namespaces.

use cni_net::{Errno, Netns, Rtnl, is_no_netns};
use nix::mount::{MsFlags, mount};
use std::{
    fs::{self, File},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};
use testkit::{Host, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        a_namespace_is_the_same_by_every_path,
        a_created_namespace_is_new_and_lives_while_it_is_open,
        a_closure_runs_inside_and_the_thread_comes_back,
        the_thread_comes_back_after_a_panic_too,
        entering_may_be_nested,
        a_socket_stays_in_the_namespace_it_was_opened_in,
        a_missing_namespace_is_distinguished_from_a_failure,
        a_fifo_in_place_of_a_namespace_does_not_block,
        a_namespace_of_another_kind_is_no_network_namespace,
        a_namespace_without_permission_is_a_failure,
    ]
}

fn inode() -> u64 {
    Netns::current().unwrap().inode()
}

fn a_namespace_is_the_same_by_every_path(host: &Host) {
    let a = host.pod("a");
    let b = host.pod("b");
    let other_path = host.file("bound", "");
    mount(
        Some(a.path()),
        &other_path,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .unwrap();
    let link = Path::new("/run/link");
    std::os::unix::fs::symlink(a.path(), link).unwrap();
    let opened = Netns::open(a.path()).unwrap();
    for path in [a.path(), &other_path, link] {
        assert!(
            opened.is_same(&Netns::open(path).unwrap()),
            "{}",
            path.display()
        );
    }
    assert!(!opened.is_same(&Netns::open(b.path()).unwrap()));
    assert!(!opened.is_same(&Netns::current().unwrap()));
    assert!(a.inside(|| opened.is_same(&Netns::current().unwrap())));
    let number = fs::read_link("/proc/thread-self/ns/net").unwrap();
    assert_eq!(number.to_str().unwrap(), format!("net:[{}]", inode()));
}

fn a_created_namespace_is_new_and_lives_while_it_is_open(_: &Host) {
    let before = inode();
    let created = Netns::create().unwrap();
    assert_eq!(inode(), before);
    assert_ne!(created.inode(), before);
    let links = Rtnl::open_in(&created).unwrap().links().unwrap();
    let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
    assert_eq!(names, ["lo"]);
    assert!(!links[0].up);
}

fn a_closure_runs_inside_and_the_thread_comes_back(host: &Host) {
    let pod = host.pod("a");
    let before = inode();
    let opened = Netns::open(pod.path()).unwrap();
    assert_eq!(opened.run(inode).unwrap(), opened.inode());
    assert_eq!(inode(), before);
}

fn the_thread_comes_back_after_a_panic_too(host: &Host) {
    let pod = host.pod("a");
    let before = inode();
    let opened = Netns::open(pod.path()).unwrap();
    let thrown = catch_unwind(AssertUnwindSafe(|| {
        opened.run(|| panic!("inside {}", inode()))
    }))
    .unwrap_err();
    assert_eq!(
        *thrown.downcast::<String>().unwrap(),
        format!("inside {}", opened.inode())
    );
    assert_eq!(inode(), before);
}

fn entering_may_be_nested(host: &Host) {
    let a = host.pod("a");
    let b = host.pod("b");
    let a = Netns::open(a.path()).unwrap();
    let b = Netns::open(b.path()).unwrap();
    let (inner, outer) = a.run(|| (b.run(inode).unwrap(), inode())).unwrap();
    assert_eq!((inner, outer), (b.inode(), a.inode()));
}

fn a_socket_stays_in_the_namespace_it_was_opened_in(host: &Host) {
    let pod = host.pod("a");
    let mut inside = Rtnl::open_in(&Netns::open(pod.path()).unwrap()).unwrap();
    Rtnl::open()
        .unwrap()
        .create_bridge(&crate::scene::name("br0"), crate::scene::BRIDGE_MAC, None)
        .unwrap();
    assert_eq!(inside.links().unwrap().len(), 1);
    // The path may be removed; the namespace lives on while the socket is open.
    pod.remove();
    assert_eq!(inside.links().unwrap().len(), 1);
}

fn a_missing_namespace_is_distinguished_from_a_failure(host: &Host) {
    let file = host.file("plain", "x");
    let socket = Path::new("/run/socket");
    let _listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    for (path, errno) in [
        (Path::new("/run/netns/missing"), Some(Errno::ENOENT)),
        (&file.join("below-a-file"), Some(Errno::ENOTDIR)),
        (socket, Some(Errno::ENXIO)),
        (&file, None),
        (Path::new("/run"), None),
        (Path::new("/dev/null"), None),
    ] {
        let error = Netns::open(path).unwrap_err();
        assert!(is_no_netns(&error), "{error}");
        assert_eq!(error.errno(), errno, "{error}");
        let text = format!("failed to open netns {:?}: ", path.display().to_string());
        assert!(error.to_string().starts_with(&text), "{error}");
    }
    let error = Netns::open(&file).unwrap_err().to_string();
    assert!(
        error.contains("not a network namespace") && error.contains("propagated"),
        "{error}"
    );
}

/// Without O_NONBLOCK, the test would not end.
fn a_fifo_in_place_of_a_namespace_does_not_block(_: &Host) {
    let path = Path::new("/run/fifo");
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    assert!(is_no_netns(&Netns::open(path).unwrap_err()));
}

fn a_namespace_of_another_kind_is_no_network_namespace(host: &Host) {
    let bound = host.file("uts", "");
    let uts = Path::new("/proc/self/ns/uts");
    mount(
        Some(uts),
        &bound,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .unwrap();
    let before = inode();
    for path in [uts, &bound] {
        let error = Netns::open(path).unwrap_err();
        assert!(is_no_netns(&error), "{error}");
        assert!(
            error.to_string().starts_with("failed to open netns "),
            "{error}"
        );
    }
    assert_eq!(inode(), before);
}

/// Such as a folder that the plugin may not search. Root may search every folder, so a path with
/// too many symbolic links stands for it.
fn a_namespace_without_permission_is_a_failure(_: &Host) {
    let path = Path::new("/run/loop");
    std::os::unix::fs::symlink(path, path).unwrap();
    let error = Netns::open(path).unwrap_err();
    assert!(!is_no_netns(&error), "{error}");
    assert_eq!(error.errno(), Some(Errno::ELOOP));
    assert!(File::open(path).is_err());
}
