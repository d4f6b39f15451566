//! The tags under which this engine records deliveries: `<owner>.<number>.<step>.<queue>`.
//!
//! A tag is unique to its delivery, so it proves who holds it; and it tells on its own whose delivery it is and to
//! which list the message goes back. A message's own `delivery_tag` could do neither: its sender chose it, and two
//! deliveries of one message share it.

use crate::task::{QueueName, Tenant};

/// What every owner's name begins with; Kombu's tags are plain UUIDs.
const OWNER: &str = "host-";

/// A tag, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnTag {
    /// The tag itself.
    pub text: String,
    /// Who holds the delivery.
    pub owner: String,
    /// Counts the owner's deliveries.
    pub number: u64,
    /// The priority step of the list that the message came from.
    pub step: u8,
    /// The queue that the message came from.
    pub queue: QueueName,
    /// Whose queue that is.
    pub tenant: Tenant,
}

/// A name for a new owner, never used before.
pub fn new_owner() -> String {
    format!("{OWNER}{}", uuid::Uuid::new_v4())
}

/// What stands before the number in the tags of `owner`.
pub fn prefix(owner: &str) -> String {
    format!("{owner}.")
}

/// What follows the number in the tags of messages from one list.
pub fn suffix(step: u8, queue: &QueueName) -> String {
    format!(".{step}.{queue}")
}

impl OwnTag {
    /// Takes a tag apart; `None` if it is not one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, '.');
        let owner = parts.next().filter(|owner| owner.starts_with(OWNER))?;
        let (number, step) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let queue = QueueName::new(parts.next()?).ok()?;
        let tenant = queue.owner().0;
        Some(Self { text: text.to_owned(), owner: owner.to_owned(), number, step, queue, tenant })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_tells_its_owner_and_where_its_message_came_from() {
        for (queue, tenant) in
            [("mail.out, \"eu\"", Tenant::DEFAULT), ("acme/mail.out", Tenant::new("acme").unwrap())]
        {
            let queue = QueueName::new(queue).unwrap();
            let owner = new_owner();
            let text = format!("{}17{}", prefix(&owner), suffix(3, &queue));
            assert_eq!(
                OwnTag::parse(&text),
                Some(OwnTag { text, owner, number: 17, step: 3, queue, tenant })
            );
        }
    }

    #[test]
    fn tags_of_others_are_not_ours() {
        for text in ["", "0b1d…", "host-", "host-x.1.0", "host-x.1.0.", "host-x.-1.0.q", "host-x.1.256.q"] {
            assert_eq!(OwnTag::parse(text), None, "{text:?}");
        }
    }
}
