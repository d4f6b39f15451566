//! Tasks that send other tasks; what each does is said in `wit/sender.wit`.

use host::tasks::workflow;

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "tests:guests/sender", generate_all });

struct Sender;

export!(Sender);

impl Guest for Sender {
    fn send(signatures: Vec<String>, then_fail: Option<bool>) -> Result<Vec<String>, TaskError> {
        let ids = signatures.iter().map(|signature| workflow::send(signature));
        let ids = ids.collect::<Result<_, _>>().map_err(value_error)?;
        if then_fail == Some(true) {
            return Err(value_error("after sending".to_owned()));
        }
        Ok(ids)
    }

    fn replace(signature: String) -> Result<(), TaskError> {
        workflow::replace(&signature).map_err(value_error)
    }

    fn flood(signature: String, times: u32) -> (u32, String) {
        for sent in 0..times {
            if let Err(reason) = workflow::send(&signature) {
                return (sent, reason);
            }
        }
        (times, String::new())
    }
}

fn value_error(message: String) -> TaskError {
    TaskError { kind: "ValueError".to_owned(), message }
}
