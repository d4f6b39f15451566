;; A bare module of plain numbers, without WASI: its functions are tasks.
(module
  (func (export "add") (param i64 i64) (result i64)
    local.get 0
    local.get 1
    i64.add)

  (func (export "half") (param f64) (result f64)
    local.get 0
    f64.const 2
    f64.div)

  (func (export "remainder") (param i32 i32) (result i32)
    local.get 0
    local.get 1
    i32.rem_s)

  ;; One more with each call, for as long as something of the last call is left.
  (global $calls (mut i32) (i32.const 0))
  (func (export "count_calls") (result i32)
    global.get $calls
    i32.const 1
    i32.add
    global.set $calls
    global.get $calls)

  ;; Touches each page that it gets, so that they are really taken; traps when there are no more.
  (memory 1)
  (func (export "grow_for_ever")
    (local $page i32)
    loop $again
      i32.const 16
      memory.grow
      local.tee $page
      i32.const -1
      i32.eq
      if
        unreachable
      end
      local.get $page
      i32.const 16
      i32.shl
      i32.const 1
      i32.store
      br $again
    end))
