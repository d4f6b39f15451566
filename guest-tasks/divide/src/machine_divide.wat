;; The bare division of the machine: it traps when `y` is zero, and when the quotient does not fit.
(module
  (func (param $x i32) (param $y i32) (result i32)
    local.get $x
    local.get $y
    i32.div_s)

  ;; Makes this an object file that wasm-ld takes. Format: "Linking Metadata Section" of WebAssembly's tool conventions.
  (@custom "linking" (after code)
    "\02"                   ;; version of the format
    "\08\13"                ;; a symbol table of 19 bytes:
    "\01"                   ;; one symbol,
    "\00\04\00"             ;; a function, of hidden visibility, at index 0,
    "\0emachine_divide"))   ;; of this name, 14 bytes long
