//! The claim to an attachment: of two concurrent ADDs of it, only one proceeds.

use cni_net::Claim;
use cni_types::{AttachmentId, Code, Error};

/// Claims the attachment until the result is dropped, which must not be before the end of a
/// rollback. The claim is an abstract unix socket, so the kernel releases it when the process ends.
///
/// # Errors
/// Fails with code 11 if another ADD of the attachment is running.
pub fn claim(id: AttachmentId<'_>) -> Result<Claim, Error> {
    let name = format!("cni-add-{}", id.hash());
    Claim::take(&name)?.ok_or_else(|| being_added(id, &name))
}

fn being_added(id: AttachmentId<'_>, name: &str) -> Error {
    let AttachmentId {
        network,
        container_id,
        if_name,
    } = id;
    let msg = format!(
        "container {container_id} is being attached to network {network} by {if_name} already"
    );
    Error::new(Code::TRY_AGAIN, msg).with_details(format!(
        "another ADD of the same attachment is running (it holds the abstract socket @{name}); \
         try again later"
    ))
}
