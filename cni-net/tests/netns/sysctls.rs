//! Kernel parameters of the namespace that the thread is in.

use crate::scene::{bridge, name};
use cni_net::{Errno, Family, Rtnl, Sysctl};
use nix::{
    mount::{MsFlags, mount},
    sys::statvfs::{FsFlags, statvfs},
};
use testkit::{Host, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        a_value_is_read_changed_and_left_alone,
        a_write_is_read_back,
        a_value_that_the_kernel_refuses_is_an_error,
        a_parameter_belongs_to_the_threads_namespace,
        both_families_have_their_forwarding_switch,
        a_parameter_of_a_link_that_is_not_there_is_none,
        a_read_only_proc_is_no_error_where_the_value_is_right,
    ]
}

fn accept_ra() -> Sysctl {
    bridge(&mut Rtnl::open().unwrap());
    Sysctl::of_interface(Family::V6, &name("br0"), "accept_ra")
}

fn a_value_is_read_changed_and_left_alone(_: &Host) {
    let sysctl = accept_ra();
    assert_eq!(sysctl.name(), "net.ipv6.conf.br0.accept_ra");
    assert_eq!(sysctl.read().unwrap().as_deref(), Some("1"));
    assert_eq!(sysctl.ensure("0").unwrap().as_deref(), Some("1"));
    assert_eq!(sysctl.ensure("0").unwrap(), None);
    assert_eq!(sysctl.read().unwrap().as_deref(), Some("0"));
}

fn a_write_is_read_back(_: &Host) {
    let sysctl = accept_ra();
    sysctl.write("2").unwrap();
    assert_eq!(sysctl.read().unwrap().as_deref(), Some("2"));
}

fn a_value_that_the_kernel_refuses_is_an_error(_: &Host) {
    let error = accept_ra().write("many").unwrap_err();
    assert_eq!(error.errno(), Some(Errno::EINVAL));
    let text = r#"failed to set sysctl "net.ipv6.conf.br0.accept_ra=many": "#;
    assert!(error.to_string().starts_with(text), "{error}");
}

fn a_parameter_belongs_to_the_threads_namespace(host: &Host) {
    let forwarding = Sysctl::forwarding(Family::V4);
    let pod = host.pod("a");
    let before = forwarding.read().unwrap();
    let other = if before.as_deref() == Some("0") {
        "1"
    } else {
        "0"
    };
    pod.inside(|| forwarding.write(other)).unwrap();
    assert_eq!(
        pod.inside(|| forwarding.read()).unwrap().as_deref(),
        Some(other)
    );
    assert_eq!(forwarding.read().unwrap(), before);
}

fn both_families_have_their_forwarding_switch(_: &Host) {
    for (family, wanted) in [
        (Family::V4, "net.ipv4.ip_forward"),
        (Family::V6, "net.ipv6.conf.all.forwarding"),
    ] {
        let sysctl = Sysctl::forwarding(family);
        assert_eq!(sysctl.name(), wanted);
        sysctl.ensure("1").unwrap();
        assert_eq!(sysctl.read().unwrap().as_deref(), Some("1"));
    }
}

fn a_parameter_of_a_link_that_is_not_there_is_none(_: &Host) {
    let sysctl = Sysctl::of_interface(Family::V4, &name("nosuch0"), "arp_notify");
    assert_eq!(sysctl.read().unwrap(), None);
    assert!(sysctl.ensure("1").unwrap_err().is_absent());
    assert!(sysctl.write("1").unwrap_err().is_absent());
}

/// As in a container with a network of its own but without a /proc/sys of its own (netavark#825).
fn a_read_only_proc_is_no_error_where_the_value_is_right(_: &Host) {
    let sysctl = accept_ra();
    let sys = "/proc/sys";
    mount(Some(sys), sys, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    // In a user namespace, the kernel refuses to clear any flag that the mount has.
    let flags = statvfs(sys).unwrap().flags();
    let keep = [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    let kept = keep
        .iter()
        .filter(|(flag, _)| flags.contains(*flag))
        .map(|(_, flag)| *flag);
    let flags = kept.fold(
        MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY,
        |all, flag| all | flag,
    );
    let remounted = mount(None::<&str>, sys, None::<&str>, flags, None::<&str>);
    testkit::require(
        "a read-only remount of /proc/sys in a user namespace",
        remounted.is_ok(),
    );
    assert_eq!(sysctl.ensure("1").unwrap(), None);
    let error = sysctl.ensure("0").unwrap_err();
    assert_eq!(error.errno(), Some(Errno::EROFS), "{error}");
    assert!(
        error.to_string().contains("net.ipv6.conf.br0.accept_ra=0"),
        "{error}"
    );
}
