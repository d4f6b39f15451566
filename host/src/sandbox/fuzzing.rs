//! Doors for the fuzz targets (`tests/fuzz`): what hostile bytes reach in this room without a guest that runs. Nobody else
//! has a use for them.

use indexmap::IndexMap;
use serde_json::value::RawValue;

use super::{
    LoadError, Options, convert,
    inspect::{Kind, inspect},
    load, one_line,
    signature::{self, Case, DEEPEST, Fallible, Field, Int, Labels, Param, Record, Signature, Type, Variant},
};
use crate::task::{Exception, Json};

/// Looks at a file as [`super::Sandbox::load`] does before it compiles.
pub fn examine(wasm: &[u8]) -> Result<(), LoadError> {
    let file = "fuzz.wasm";
    let component = match inspect(file, wasm, &Options::default(), false)? {
        Kind::Component => wasm.to_owned(),
        Kind::Module { has_types: true, has_start } => load::encode(file, wasm, has_start)?,
        Kind::Module { has_types: false, .. } => return Ok(()),
    };
    let exports = signature::read_component(&component)
        .map_err(|error| LoadError::Types { file: file.to_owned(), reason: one_line(&error) })?;
    for function in exports.functions {
        function.signature.to_string();
        function.signature.example();
    }
    Ok(())
}

/// Gives `args` to a function that takes what `types` says and returns its arguments as a tuple; answers what its caller gets. What
/// cannot be written as JSON, such as a number that is none, is `null`.
pub fn there_and_back(types: &[u8], args: &Json) -> Result<Json, Exception> {
    let mut types = Types { bytes: types.iter() };
    let params: Vec<_> =
        (0..types.below(4)).map(|number| Param { name: format!("p{number}"), ty: types.next(0) }).collect();
    let result = Type::Tuple(params.iter().map(|param| param.ty.clone()).collect());
    let signature = Signature {
        name: "f".to_owned(),
        params,
        rest_args: false,
        rest_kwargs: false,
        result: Some(result),
    };
    signature.to_string();
    let kwargs = RawValue::from_string("{}".to_owned()).expect("it is JSON");
    let values = convert::arguments(&signature, args, &kwargs)?;
    convert::result(&signature, &[wasmtime::component::Val::Tuple(values)], 1 << 20)
}

/// Types made of bytes: the same bytes make the same types.
struct Types<'a> {
    bytes: std::slice::Iter<'a, u8>,
}

impl Types<'_> {
    /// A number below `most`; 0 when the bytes have come to their end.
    fn below(&mut self, most: u8) -> u8 {
        self.bytes.next().map_or(0, |byte| byte % most)
    }

    fn next(&mut self, depth: usize) -> Type {
        let deeper = depth + 1;
        // A little less than the most that is taken, since a tuple stands around all of them.
        let kinds = if deeper + 2 < DEEPEST { 16 } else { 8 };
        match self.below(kinds) {
            0 => Type::Bool,
            1 => Type::Int(INTS[usize::from(self.below(8))]),
            2 => Type::F32,
            3 => Type::F64,
            4 => Type::Char,
            5 => Type::String,
            6 => Type::Json,
            7 => Type::Bytes,
            8 => match self.next(deeper) {
                Type::Int(Int::U8) => Type::Bytes,
                item => Type::List(item.into()),
            },
            9 => Type::Tuple((0..=self.below(4)).map(|_| self.next(deeper)).collect()),
            10 => Type::Option(self.next(deeper).into()),
            11 => Type::Result(Fallible { ok: self.maybe(deeper), err: self.maybe(deeper) }.into()),
            12 => {
                let field = |number| Field {
                    kebab: format!("field-{number}"),
                    snake: format!("field_{number}"),
                    ty: self.next(deeper),
                };
                Type::Record(Record { name: "record".to_owned(), fields: (0..3).map(field).collect() }.into())
            }
            13 => {
                let case = |number| {
                    let case = Case { kebab: format!("case-{number}"), payload: self.maybe(deeper) };
                    (format!("case_{number}"), case)
                };
                Type::Variant(
                    Variant { name: "variant".to_owned(), cases: (0..3).map(case).collect() }.into(),
                )
            }
            14 => Type::Enum(labels(1 + self.below(4)).into()),
            _ => Type::Flags(labels(1 + self.below(40)).into()),
        }
    }

    fn maybe(&mut self, depth: usize) -> Option<Type> {
        (self.below(2) == 1).then(|| self.next(depth))
    }
}

const INTS: [Int; 8] = [Int::U8, Int::U16, Int::U32, Int::U64, Int::S8, Int::S16, Int::S32, Int::S64];

fn labels(count: u8) -> Labels {
    let labels: IndexMap<_, _> =
        (0..count).map(|number| (format!("label_{number}"), format!("label-{number}"))).collect();
    Labels { name: "labels".to_owned(), labels }
}
