//! Fails and says what is to become of its message; what each function does is said in `wit/retry.wit`.

use host::tasks::{context, delivery};

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "tests:guests/retry", generate_all });

struct Retry;

export!(Retry);

impl Guest for Retry {
    fn flaky(fail_times: u32, kind: String) -> Result<u32, TaskError> {
        let retries = context::current().retries;
        if retries < fail_times {
            return Err(error(&kind, &format!("failed after {retries} retries")));
        }
        Ok(retries)
    }

    fn ask(delay: Option<u64>, max_retries: Option<u32>) -> Result<u32, TaskError> {
        delivery::retry(delay, max_retries);
        Err(error("ConnectionError", "no route"))
    }

    fn ask_until(fail_times: u32) -> Result<u32, TaskError> {
        delivery::retry(Some(0), None);
        Self::flaky(fail_times, "ConnectionError".to_owned())
    }

    fn ignore() -> Result<(), TaskError> {
        delivery::ignore();
        Err(error("RuntimeError", "nobody reads this"))
    }

    fn reject(requeue: bool) -> Result<(), TaskError> {
        delivery::reject(requeue);
        Err(error("ValueError", "not for me"))
    }

    fn reject_once() -> Result<bool, TaskError> {
        if context::headers().contains("redelivered") {
            return Ok(true);
        }
        delivery::reject(true);
        Err(error("ValueError", "not now"))
    }
}

fn error(kind: &str, message: &str) -> TaskError {
    TaskError { kind: kind.to_owned(), message: message.to_owned() }
}
