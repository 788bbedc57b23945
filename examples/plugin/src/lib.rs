//! A plugin to begin a new one from (CONTRIBUTING.md, "Adding a plugin"). In a chain, it sets the
//! MTU of the interface that an earlier plugin made.

use cni_attachment::container_netns;
use cni_net::{Batch, Link, Rtnl, require_capabilities};
use cni_types::{Attachment, Call, Code, Detachment, Encoded, Error, Key, Plugin};
use serde::Deserialize;
use std::num::NonZeroU32;

/// The keys of the configuration.
pub const KEYS: &[Key] = &[Key::number("mtu")];

/// The configuration. What makes no sense cannot be decoded.
#[derive(Deserialize)]
struct Config {
    mtu: NonZeroU32,
}

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct Template;

impl Plugin for Template {
    fn name(&self) -> &'static str {
        "plugin"
    }

    /// Everything that can be refused is refused before the one request that changes anything.
    fn add(&self, call: &Call, attachment: &Attachment) -> Result<Encoded, Error> {
        let Config { mtu } = call.config()?;
        let missing = || Error::new(Code::INVALID_CONFIG, "required prevResult missing");
        let result = call.prev_result()?.ok_or_else(missing)?;
        let result = result.encode(call.version)?;
        let (mut rtnl, link) = find(call, attachment)?;
        let mut batch = Batch::new();
        batch.set_mtu(&link, mtu.get());
        rtnl.run(batch)?;
        Ok(result)
    }

    /// The MTU goes with the interface, and that is its maker's.
    fn del(&self, _call: &Call, _detachment: &Detachment) -> Result<(), Error> {
        Ok(())
    }

    fn check(&self, call: &Call, attachment: &Attachment) -> Result<(), Error> {
        let Config { mtu } = call.config()?;
        let (_, link) = find(call, attachment)?;
        if link.mtu == mtu.get() {
            return Ok(());
        }
        let msg = format!("{} has MTU {}, wanted {mtu}", attachment.if_name, link.mtu);
        Err(Error::new(Code::CHECK_MISMATCH, msg))
    }

    fn status(&self, _call: &Call) -> Result<(), Error> {
        require_capabilities()
    }

    fn gc(&self, call: &Call) -> Result<(), Error> {
        call.valid_attachments().map(drop)
    }
}

/// Finds the interface in the container.
fn find(call: &Call, attachment: &Attachment) -> Result<(Rtnl, Link), Error> {
    let mut rtnl = Rtnl::open_in(&container_netns(call, &attachment.netns)?)?;
    let missing = || Error::new(Code::KERNEL, "the container has no such interface");
    let link = rtnl.find_link(&attachment.if_name)?;
    let link = link.ok_or_else(|| missing().with_details(attachment.if_name.as_str()))?;
    Ok((rtnl, link))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declared_keys_are_those_that_are_read() {
        let declared = KEYS.iter().map(|key| key.name);
        assert_eq!(testkit::fields_of::<Config>(), declared.collect());
    }
}
