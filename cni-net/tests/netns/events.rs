//! Waiting for the kernel's notifications.

use crate::scene::{bridge, find, name, run};
use cni_net::{Errno, LinkEvents, LinkRef, NetError, Rtnl};
use cni_types::{IfName, Stop};
use nix::sys::signal::{Signal, raise};
use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};
use testkit::{Host, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        a_wait_ends_when_the_event_comes,
        a_wait_ends_when_an_address_comes,
        what_is_there_already_needs_no_event,
        a_wait_ends_at_its_limit,
        unrelated_events_do_not_prolong_a_wait,
        a_wait_ends_when_the_process_is_to_stop,
        an_error_of_the_look_ends_the_wait,
    ]
}

/// Long enough on any machine; a test that needs it in full fails.
const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(50);

/// Waits until `look` finds something, while another thread calls `act` after the first look.
fn wait_while<T: Send>(
    look: impl Fn(&mut Rtnl) -> Result<Option<T>, NetError>,
    act: impl FnOnce() + Send,
) -> Result<T, NetError> {
    let events = LinkEvents::subscribe().unwrap();
    let mut rtnl = Rtnl::open().unwrap();
    let (looked, first_look) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            first_look.recv().unwrap();
            act();
        });
        events.wait_until(
            &mut rtnl,
            "the test's event",
            LONG,
            &Stop::never(),
            |rtnl| {
                let found = look(rtnl);
                let _ = looked.send(());
                found
            },
        )
    })
}

fn a_wait_ends_when_the_event_comes(_: &Host) {
    let made = wait_while(
        |rtnl| rtnl.find_link(&name("br0")),
        || {
            bridge(&mut Rtnl::open().unwrap());
        },
    );
    assert_eq!(made.unwrap().name, "br0");
}

fn a_wait_ends_when_an_address_comes(_: &Host) {
    let index = bridge(&mut Rtnl::open().unwrap());
    for address in ["10.1.0.1/16", "fd00::1/64"] {
        let look = |rtnl: &mut Rtnl| {
            Ok(rtnl
                .addresses(index)?
                .into_iter()
                .find(|found| found.cidr.to_string() == address))
        };
        let add = || crate::scene::add_address(&mut Rtnl::open().unwrap(), "br0", address);
        wait_while(look, add).unwrap();
    }
}

fn what_is_there_already_needs_no_event(_: &Host) {
    let events = LinkEvents::subscribe().unwrap();
    let mut rtnl = Rtnl::open().unwrap();
    let lo: IfName = name("lo");
    let found = events.wait_until(&mut rtnl, "lo", Duration::ZERO, &Stop::never(), |rtnl| {
        rtnl.find_link(&lo)
    });
    assert_eq!(found.unwrap().index, 1);
}

fn a_wait_ends_at_its_limit(_: &Host) {
    let events = LinkEvents::subscribe().unwrap();
    let mut rtnl = Rtnl::open().unwrap();
    let start = Instant::now();
    let error = events
        .wait_until(&mut rtnl, "a miracle", SHORT, &Stop::never(), |_| {
            Ok(None::<()>)
        })
        .unwrap_err();
    assert!(
        matches!(&error, NetError::TimedOut(what) if what == "a miracle"),
        "{error}"
    );
    assert_eq!(error.to_string(), "timed out waiting for a miracle");
    assert!(start.elapsed() >= SHORT && start.elapsed() < LONG);
}

/// As on a node where pods come and go all the time: there is always another event.
fn unrelated_events_do_not_prolong_a_wait(_: &Host) {
    let index = bridge(&mut Rtnl::open().unwrap());
    let events = LinkEvents::subscribe().unwrap();
    let start = Instant::now();
    let mut mtu = 1000;
    let outcome = events.wait_until(
        &mut Rtnl::open().unwrap(),
        "a miracle",
        SHORT,
        &Stop::never(),
        |rtnl| {
            assert!(start.elapsed() < LONG);
            mtu = 2001 - mtu;
            run(rtnl, |batch| {
                batch.set_mtu(LinkRef::new(index, &name("br0")), mtu)
            })
            .map(|()| None::<()>)
        },
    );
    assert!(matches!(outcome, Err(NetError::TimedOut(_))));
}

/// The signal is sent to this thread only: other tests do not receive it.
fn a_wait_ends_when_the_process_is_to_stop(_: &Host) {
    let stop = Stop::on_sigterm();
    let events = LinkEvents::subscribe().unwrap();
    let mut rtnl = Rtnl::open().unwrap();
    let error = events
        .wait_until(&mut rtnl, "a miracle", LONG, &stop, |_| {
            raise(Signal::SIGTERM).unwrap();
            Ok(None::<()>)
        })
        .unwrap_err();
    assert!(
        matches!(&error, NetError::Stopped(what) if what == "a miracle"),
        "{error}"
    );
}

fn an_error_of_the_look_ends_the_wait(_: &Host) {
    let events = LinkEvents::subscribe().unwrap();
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    let error = events
        .wait_until(&mut rtnl, "nothing", LONG, &Stop::never(), |rtnl| {
            run(rtnl, |batch| {
                batch.set_mtu(LinkRef::new(index, &name("br0")), 1)
            })
            .map(|()| None::<()>)
        })
        .unwrap_err();
    assert_eq!(error.errno(), Some(Errno::EINVAL), "{error}");
    assert_eq!(find(&mut rtnl, "br0").mtu, 1500);
}
