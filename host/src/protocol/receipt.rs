//! Receipts, as results and events carry them under the key `host`, of which Celery's clients take no notice. Times are in
//! seconds, the memory is in bytes.

use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::task::Receipt;

/// What a run took, and where it was: what goes with a result.
#[derive(Debug, Clone, Copy)]
pub struct Ran<'a> {
    /// The task's name.
    pub task: &'a str,
    /// The worker's name: `celery@box`.
    pub worker: &'a str,
    /// What it took.
    pub receipt: &'a Receipt,
}

/// What a run took: what goes with an event, which says the rest itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Took(pub Receipt);

impl Serialize for Ran<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = serializer.serialize_struct("Ran", 2 + FIELDS)?;
        text.serialize_field("task", self.task)?;
        text.serialize_field("worker", self.worker)?;
        fields(&mut text, self.receipt)?;
        text.end()
    }
}

impl Serialize for Took {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = serializer.serialize_struct("Took", FIELDS)?;
        fields(&mut text, &self.0)?;
        text.end()
    }
}

/// How many [`fields`] there are.
const FIELDS: usize = 5;

fn fields<T: SerializeStruct>(text: &mut T, receipt: &Receipt) -> Result<(), T::Error> {
    text.serialize_field("plugin", &*receipt.digest)?;
    text.serialize_field("runtime", &receipt.wall.as_secs_f64())?;
    text.serialize_field("cputime", &receipt.cpu.as_secs_f64())?;
    text.serialize_field("memory", &receipt.peak_memory)?;
    text.serialize_field("waited", &receipt.waited.map(|waited| waited.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn results_and_events_say_the_same_of_a_run() {
        let receipt = Receipt {
            wall: Duration::from_micros(1_500),
            cpu: Duration::from_micros(250),
            peak_memory: 1 << 20,
            waited: None,
            digest: "ab".into(),
        };
        let took = r#""plugin":"ab","runtime":0.0015,"cputime":0.00025,"memory":1048576,"waited":null}"#;
        let ran = Ran { task: "app.f", worker: "w@h", receipt: &receipt };
        assert_eq!(
            serde_json::to_string(&ran).unwrap(),
            format!(r#"{{"task":"app.f","worker":"w@h",{took}"#)
        );
        assert_eq!(serde_json::to_string(&Took(receipt)).unwrap(), format!("{{{took}"));
    }
}
