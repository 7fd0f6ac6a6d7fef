;; Passes over lines of message data about which there is no doubt, sixteen octets at a time. What it stops at is judged
;; by data-scanner.ts, octet by octet: it finds nothing by itself. After a change: node .ci/wasm.mjs
(module
  ;; The data lie behind the first 16 octets, the last of which is a LF: the first line begins after one, too.
  (memory (export "memory") 5)

  ;; `at`: where a line begins. Gives where the last line begins of which all before it, from `at` on, is sound: lines of
  ;; at most `limit` octets that end by CRLF and do not begin with a dot, without NUL and without octets above `greatest`.
  (func (export "skip")
    (param $at i32) (param $end i32) (param $greatest i32) (param $limit i32) (result i32)
    (local $line i32) (local $octets v128) (local $before v128) (local $feeds v128)
    (local $mask i32) (local $feed i32)
    (local.set $line (local.get $at))
    (block $stop
      (loop $block
        (br_if $stop (i32.gt_u (i32.add (local.get $at) (i32.const 16)) (local.get $end)))
        (local.set $octets (v128.load (local.get $at)))
        ;; The same, each octet replaced by the one before it.
        (local.set $before (v128.load (i32.sub (local.get $at) (i32.const 1))))
        (local.set $feeds (i8x16.eq (local.get $octets) (i8x16.splat (i32.const 0x0a))))
        (br_if $stop (v128.any_true
          (v128.or
            (v128.or
              ;; A LF without CR before it, or anything else behind a CR.
              (v128.xor (local.get $feeds) (i8x16.eq (local.get $before) (i8x16.splat (i32.const 0x0d))))
              (v128.and
                (i8x16.eq (local.get $octets) (i8x16.splat (i32.const 0x2e)))
                (i8x16.eq (local.get $before) (i8x16.splat (i32.const 0x0a)))))
            (v128.or
              (i8x16.eq (local.get $octets) (i8x16.splat (i32.const 0)))
              (i8x16.gt_u (local.get $octets) (i8x16.splat (local.get $greatest)))))))
        (local.set $mask (i8x16.bitmask (local.get $feeds)))
        (block $counted
          (loop $each
            (br_if $counted (i32.eqz (local.get $mask)))
            (local.set $feed (i32.add (local.get $at) (i32.ctz (local.get $mask))))
            (br_if $stop (i32.gt_s
              (i32.sub (i32.sub (local.get $feed) (i32.const 1)) (local.get $line))
              (local.get $limit)))
            (local.set $line (i32.add (local.get $feed) (i32.const 1)))
            (local.set $mask (i32.and (local.get $mask) (i32.sub (local.get $mask) (i32.const 1))))
            (br $each)))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (br $block)))
    (local.get $line)))
