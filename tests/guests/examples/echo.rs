//! Gives back what it gets, in every type that a task can have.

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "tests:guests/echo", generate_all });

struct Echo;

export!(Echo);

impl Guest for Echo {
    fn numbers(a: u8, b: i64, c: u64, d: f32, e: f64) -> (u8, i64, u64, f32, f64) {
        (a, b, c, d, e)
    }

    fn texts(letter: char, text: String, yes: bool) -> (char, String, bool) {
        (letter, text, yes)
    }

    fn bytes(value: Vec<u8>) -> Vec<u8> {
        value
    }

    fn an_order(value: Order) -> Order {
        value
    }

    fn a_payment(value: Payment) -> Payment {
        value
    }

    fn a_size(value: Size) -> Size {
        value
    }

    fn some_toppings(value: Toppings) -> Toppings {
        value
    }

    fn maybe(value: Option<u32>) -> Option<u32> {
        value
    }

    fn any(value: String) -> String {
        value
    }

    fn rest(first: String, args: Vec<String>, kwargs: Vec<(String, String)>) -> String {
        let kwargs: Vec<_> = kwargs.iter().map(|(name, value)| format!("[{name:?}, {value}]")).collect();
        format!("[{first:?}, [{}], [{}]]", args.join(", "), kwargs.join(", "))
    }

    fn complain(about: Option<Problem>) -> Result<String, Problem> {
        about.map_or_else(|| Ok("all is well".to_owned()), Err)
    }

    fn two_nothings(_: Option<Option<u32>>) {}
}
