//! The result of ADD and the kernel: what the one says is in the other, and nothing else.

use super::kernel::{Kernel, interface_of, made_routes, route as words};
use crate::suite::{
    Attachment, Case, Clause, Failure, Fault, Kind, Made, Need, Versions, at, fault::put, require,
};
use serde_json::{Value, json};

const SUCCESS: &str = "5 ADD Success";

const ADDRESSES: Clause = Clause::new(SUCCESS, "ips lists the addresses that the attachment got");
const ROUTES: Clause = Clause::new(SUCCESS, "routes lists the routes that the attachment made");

pub(super) const CASES: &[Case] = &[
    RESULT_INTERFACES,
    RESULT_SANDBOX,
    RESULT_ADDRESSES,
    RESULT_ROUTES,
    HIDDEN_INTERFACES,
    HIDDEN_ADDRESSES,
    HIDDEN_ROUTES,
    IPAM_RESULT,
];

const RESULT_INTERFACES: Case = Case::must(
    "lifecycle/result-interfaces",
    "every interface of the result is there, with that hardware address and that MTU",
    Clause::new(
        SUCCESS,
        "interfaces lists the interfaces of the attachment with name, mac, mtu and sandbox",
    ),
)
.versions(Versions::WITH_INTERFACES)
.kinds(&[Kind::Interface, Kind::Chained])
.faults(&[
    Fault::new(
        "tells the hardware address that it asked for",
        |real, call| {
            Ok(real
                .run(&call)?
                .edited(|result| put(result, "/interfaces/0/mac", "02:00:00:00:00:99")))
        },
    ),
    Fault::new("tells the name of a temporary interface", |real, call| {
        Ok(real
            .run(&call)?
            .edited(|result| put(result, "/interfaces/0/name", "tmp1234")))
    }),
    Fault::new("tells an MTU that is none", |real, call| {
        Ok(real
            .run(&call)?
            .edited(|result| put(result, "/interfaces/1/mtu", 9001)))
    }),
])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let result = attachment.add_decoded()?;
    let host = Kernel::of_host()?;
    let inside = Kernel::inside(&attachment)?;
    for interface in &result.interfaces {
        let (place, kernel) = if interface.sandbox.is_empty() {
            ("the host", &host)
        } else {
            ("the container", &inside)
        };
        let name = &interface.name;
        let found = kernel.names();
        let link = kernel.link(name);
        let link = link
            .ok_or_else(|| Failure::mismatch(format!("an interface {name} in {place}"), &found))?;
        let mac = link.mac.map(|mac| mac.to_string()).unwrap_or_default();
        let same = interface.mac.is_empty() || interface.mac.eq_ignore_ascii_case(&mac);
        require(
            same,
            format!("{name} in {place} with the address {}", interface.mac),
            &mac,
        )?;
        let same = interface.mtu.is_none_or(|mtu| mtu == link.mtu);
        require(
            same,
            format!("{name} in {place} with the MTU {:?}", interface.mtu),
            link.mtu,
        )?;
    }
    Ok(())
});

const RESULT_SANDBOX: Case = Case::should(
    "lifecycle/result-sandbox",
    "the container's interface has CNI_NETNS as its sandbox, one of the host has none",
    Clause::new(
        SUCCESS,
        "sandbox is the value of CNI_NETNS for an interface in the container, empty for one of \
         the host",
    ),
)
.versions(Versions::WITH_INTERFACES)
.kinds(&[Kind::Interface])
.needs(&[Need::Makes(Made::Interface)])
.faults(&[
    Fault::new("leaves the sandbox out", |real, call| {
        Ok(real.run(&call)?.edited(|result| {
            for interface in result["interfaces"].as_array_mut().into_iter().flatten() {
                interface
                    .as_object_mut()
                    .map(|interface| interface.remove("sandbox"));
            }
        }))
    }),
    Fault::new("tells a path of its own", |real, call| {
        Ok(real.run(&call)?.edited(|result| {
            for interface in result["interfaces"].as_array_mut().into_iter().flatten() {
                put(interface, "/sandbox", "/proc/1/ns/net");
            }
        }))
    }),
])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let result = attachment.add()?;
    let inside = Kernel::inside(&attachment)?;
    for interface in at(&result, "/interfaces").as_array().into_iter().flatten() {
        let name = at(interface, "/name").as_str().unwrap_or_default();
        let sandbox = at(interface, "/sandbox").as_str().unwrap_or_default();
        let wanted = match inside.link(name) {
            Some(_) => attachment.netns().path().display().to_string(),
            None => String::new(),
        };
        require(
            sandbox == wanted,
            format!("the sandbox {wanted:?} of {name}"),
            interface,
        )?;
    }
    let ifname = &context.profile().ifname;
    let list = at(&result, "/interfaces").as_array();
    let named = list.is_some_and(|list| {
        list.iter()
            .any(|interface| at(interface, "/name") == ifname.as_str())
    });
    require(
        named,
        format!("an interface {ifname} in the result"),
        &result,
    )
});

const RESULT_ADDRESSES: Case = Case::must(
    "lifecycle/result-addresses",
    "every address of the result is on its interface",
    ADDRESSES,
)
.kinds(&[Kind::Interface, Kind::Chained])
.faults(&[
    Fault::new("tells an address that it did not set", |real, call| {
        Ok(real
            .run(&call)?
            .edited(|result| put(result, "/ips/0/address", "10.77.0.99/24")))
    }),
    Fault::new("tells another prefix", |real, call| {
        Ok(real.run(&call)?.edited(|result| {
            let text = at(result, "/ips/0/address")
                .as_str()
                .unwrap_or_default()
                .replace("/24", "/32");
            put(result, "/ips/0/address", text);
        }))
    }),
    Fault::new("tells the wrong interface", |real, call| {
        Ok(real
            .run(&call)?
            .edited(|result| put(result, "/ips/0/interface", 0)))
    }),
])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let result = attachment.add_decoded()?;
    let inside = Kernel::inside(&attachment)?;
    for ip in &result.ips {
        let name = interface_of(&result, ip.interface, &context.profile().ifname);
        let wanted = format!("the address {} on {name}", ip.address);
        let found: Vec<String> = inside
            .addresses
            .iter()
            .map(|(name, address)| format!("{address} on {name}"))
            .collect();
        require(
            inside.addresses.contains(&(name, ip.address)),
            wanted,
            found.join(", "),
        )?;
    }
    Ok(())
});

const RESULT_ROUTES: Case = Case::must(
    "lifecycle/result-routes",
    "every route of the result is in the container",
    ROUTES,
)
.kinds(&[Kind::Interface, Kind::Chained])
.needs(&[Need::Makes(Made::Route)])
.faults(&[Fault::new(
    "tells a route that it did not make",
    |real, call| {
        Ok(real.run(&call)?.edited(|result| {
            if let Some(routes) = result["routes"].as_array_mut() {
                routes.push(json!({"dst": "203.0.113.0/24"}));
            }
        }))
    },
)])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let result = attachment.add_decoded()?;
    let inside = Kernel::inside(&attachment)?;
    for route in &result.routes {
        let wanted = words(route.dst, route.gw);
        let found: Vec<String> = inside
            .routes
            .iter()
            .map(|route| words(route.dst, route.gateway))
            .collect();
        require(
            inside.has_route(route.dst, route.gw, route.table),
            wanted,
            found.join(", "),
        )?;
    }
    Ok(())
});

const HIDDEN_INTERFACES: Case = Case::must(
    "lifecycle/hidden-interfaces",
    "every interface that ADD made is in the result",
    Clause::new(
        SUCCESS,
        "interfaces lists all interfaces that the attachment made, those of the host as well",
    ),
)
.versions(Versions::WITH_INTERFACES)
.kinds(&[Kind::Interface])
.needs(&[Need::Makes(Made::Interface)])
.faults(&[Fault::new(
    "leaves the interfaces of the host out",
    |real, call| {
        Ok(real.run(&call)?.edited(|result| {
            if let Some(interfaces) = result["interfaces"].as_array_mut() {
                interfaces.retain(|interface| interface.get("sandbox").is_some());
            }
            put(result, "/ips/0/interface", 0);
        }))
    },
)])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let host = Kernel::of_host()?;
    let inside = Kernel::inside(&attachment)?;
    let result = attachment.add_decoded()?;
    let places = [
        (Kernel::of_host()?, host, true),
        (Kernel::inside(&attachment)?, inside, false),
    ];
    for (after, before, on_host) in places {
        for link in after
            .links
            .iter()
            .filter(|link| before.link(link.name.as_str()).is_none())
        {
            let told =
                |name: &str, sandbox: &str| link.name == name && sandbox.is_empty() == on_host;
            let is_told = result
                .interfaces
                .iter()
                .any(|known| told(&known.name, &known.sandbox));
            let wanted = format!("the interface {}, which ADD made, in the result", link.name);
            require(
                is_told,
                wanted,
                attachment.last_result().unwrap_or_default(),
            )?;
        }
    }
    Ok(())
});

const HIDDEN_ADDRESSES: Case = Case::must(
    "lifecycle/hidden-addresses",
    "every address that ADD gave to the container is in the result",
    ADDRESSES,
)
.kinds(&[Kind::Interface])
.faults(&[Fault::new("leaves the addresses out", |real, call| {
    Ok(real.run(&call)?.edited(|result| {
        result.as_object_mut().map(|result| result.remove("ips"));
    }))
})])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let (inside, text, result) = added(&attachment)?;
    let is_link_local =
        |ip: std::net::IpAddr| matches!(ip, std::net::IpAddr::V6(ip) if ip.is_unicast_link_local());
    for (name, address) in inside
        .addresses
        .iter()
        .filter(|(_, address)| !is_link_local(address.address()))
    {
        let told = result.ips.iter().any(|ip| ip.address == *address);
        require(
            told,
            format!("the address {address}, which ADD put on {name}, in the result"),
            &text,
        )?;
    }
    Ok(())
});

const HIDDEN_ROUTES: Case = Case::should(
    "lifecycle/hidden-routes",
    "every route that ADD made in the container is in the result",
    ROUTES,
)
.kinds(&[Kind::Interface])
.needs(&[Need::Makes(Made::Route)])
.faults(&[Fault::new("leaves the routes out", |real, call| {
    Ok(real.run(&call)?.edited(|result| {
        result.as_object_mut().map(|result| result.remove("routes"));
    }))
})])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let (inside, text, result) = added(&attachment)?;
    for route in made_routes(&inside) {
        let told = result
            .routes
            .iter()
            .any(|known| known.dst.network() == route.dst);
        let wanted = format!(
            "{}, which ADD made, in the result",
            words(route.dst, route.gateway)
        );
        require(told, wanted, &text)?;
    }
    Ok(())
});

const IPAM_RESULT: Case = Case::must(
    "lifecycle/ipam-result",
    "an IPAM plugin's result has no interfaces",
    Clause::new(
        "5 Delegated plugins (IPAM)",
        "a delegated IPAM plugin's result has no interfaces, and its ips name none",
    ),
)
.versions(Versions::WITH_INTERFACES)
.kinds(&[Kind::Ipam])
.faults(&[
    Fault::new("tells an interface that others make", |real, call| {
        Ok(real.run(&call)?.edited(|result| {
            if result.get("ips").is_some() {
                put(
                    result,
                    "/interfaces",
                    json!([{"name": call.env("CNI_IFNAME")}]),
                );
            }
        }))
    }),
    Fault::new("says which interface an address is for", |real, call| {
        Ok(real
            .run(&call)?
            .edited(|result| put(result, "/ips/0/interface", 0)))
    }),
])
.body(|context| {
    let result = context.attachment("c1")?.add()?;
    let mut ips = at(&result, "/ips").as_array().into_iter().flatten();
    let bare = result.get("interfaces").is_none() && ips.all(|ip| ip.get("interface").is_none());
    require(
        bare,
        "a result without interfaces, and addresses that name none",
        &result,
    )
});

/// Returns what ADD has changed in the container, by the kernel's view.
fn added(attachment: &Attachment<'_>) -> Result<(Kernel, Value, cni_types::AddResult), Failure> {
    let before = Kernel::inside(attachment)?;
    let result = attachment.add_decoded()?;
    let mut after = Kernel::inside(attachment)?;
    after
        .addresses
        .retain(|address| !before.addresses.contains(address));
    Ok((after, attachment.last_result().unwrap_or_default(), result))
}
