//! The tags of deliveries: `<owner>.<number>`.
//!
//! Owners are named by random UUIDs and count their deliveries, so a tag is unique to its delivery and proves who holds it.

use crate::store::Tag;

/// A tag, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnTag {
    /// Who holds the delivery.
    pub owner: String,
    /// Counts the owner's deliveries.
    pub number: i64,
}

/// A name for a new owner, never used before.
pub fn new_owner() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// The tag of an owner's delivery.
pub fn tag(owner: &str, number: i64) -> Tag {
    Tag(format!("{owner}.{number}").into())
}

impl OwnTag {
    /// Takes a tag apart; `None` if it is not one of this engine.
    pub fn parse(tag: &Tag) -> Option<Self> {
        let (owner, number) = tag.0.split_once('.')?;
        Some(Self { owner: owner.to_owned(), number: number.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_tells_its_owner() {
        let owner = new_owner();
        assert_eq!(OwnTag::parse(&tag(&owner, 17)), Some(OwnTag { owner, number: 17 }));
        for text in ["", "x", "x.", "x.y", "x.99999999999999999999"] {
            assert_eq!(OwnTag::parse(&Tag(text.into())), None, "{text:?}");
        }
    }
}
