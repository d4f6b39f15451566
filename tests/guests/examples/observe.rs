//! Looks at its own run, waits, and tells how far it is.

use std::{thread, time::Duration};

use host::tasks::{context, progress};

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "tests:guests/observe", generate_all });

struct Observe;

export!(Observe);

impl Guest for Observe {
    fn about_me() -> String {
        let task = context::current();
        let optional = |id: Option<String>| id.map_or("null".to_owned(), |id| format!("{id:?}"));
        format!(
            r#"{{"id": {:?}, "name": {:?}, "retries": {}, "deadline": {}, "root_id": {:?},
                "parent_id": {}, "group_id": {}, "headers": {}, "properties": {}}}"#,
            task.id,
            task.name,
            task.retries,
            task.deadline,
            task.root_id,
            optional(task.parent_id),
            optional(task.group_id),
            context::headers(),
            context::properties(),
        )
    }

    fn sleep_for(seconds: f64) -> f64 {
        thread::sleep(Duration::from_secs_f64(seconds));
        seconds
    }

    fn report(state: String, meta: String, seconds: f64) -> Result<(), String> {
        progress::update(&state, &meta)?;
        Self::sleep_for(seconds);
        Ok(())
    }

    fn until_cancelled() -> String {
        while !context::cancelled() {
            thread::sleep(Duration::from_millis(5));
        }
        "ended in its own way".to_owned()
    }
}
