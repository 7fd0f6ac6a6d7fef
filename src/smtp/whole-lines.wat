;; Passes over lines of message data about which there is no doubt, many octets at a time. What it stops at is judged
;; by data-scanner.ts, octet by octet: it finds nothing by itself. After a change: node .ci/wasm.mjs
(module
  ;; The data lie behind the first 16 octets, the last of which is a LF: the first line begins after one, too.
  (memory (export "memory") 5)

  ;; `at`: where a line begins. Gives where the last line begins of which all before it, from `at` on, is sound: lines of
  ;; at most `limit` octets that end by CRLF and do not begin with a dot, without NUL and without octets above `greatest`.
  (func (export "skip")
    (param $at i32) (param $end i32) (param $greatest i32) (param $limit i32) (result i32)
    (local $line i32) (local $octets v128) (local $before v128) (local $feeds v128)
    (local $lf v128) (local $cr v128) (local $dot v128) (local $doubt v128) (local $least v128) (local $most v128)
    (local $prior i32) (local $lines i64) (local $mask i32) (local $feed i32)
    (local.set $line (local.get $at))
    ;; Sixty-four octets at a time, as long as they are sound: what is doubtful is looked at more closely below. Of two lines
    ;; that end in one such block the second cannot be too long.
    (local.set $lf (i8x16.splat (i32.const 0x0a)))
    (local.set $cr (i8x16.splat (i32.const 0x0d)))
    (local.set $dot (i8x16.splat (i32.const 0x2e)))
    (block $closely
      (br_if $closely (i32.lt_s (local.get $limit) (i32.const 64)))
      (loop $block
        (br_if $closely (i32.gt_u (i32.add (local.get $at) (i32.const 64)) (local.get $end)))
        (local.set $prior (i32.sub (local.get $at) (i32.const 1)))
        (local.set $octets (v128.load (local.get $at)))
        (local.set $before (v128.load (local.get $prior)))
        (local.set $feeds (i8x16.eq (local.get $octets) (local.get $lf)))
        (local.set $doubt (v128.or
          (v128.xor (local.get $feeds) (i8x16.eq (local.get $before) (local.get $cr)))
          (v128.and (i8x16.eq (local.get $octets) (local.get $dot)) (i8x16.eq (local.get $before) (local.get $lf)))))
        (local.set $least (local.get $octets))
        (local.set $most (local.get $octets))
        (local.set $lines (i64.extend_i32_u (i8x16.bitmask (local.get $feeds))))
        (local.set $octets (v128.load offset=16 (local.get $at)))
        (local.set $before (v128.load offset=16 (local.get $prior)))
        (local.set $feeds (i8x16.eq (local.get $octets) (local.get $lf)))
        (local.set $doubt (v128.or (local.get $doubt) (v128.or
          (v128.xor (local.get $feeds) (i8x16.eq (local.get $before) (local.get $cr)))
          (v128.and (i8x16.eq (local.get $octets) (local.get $dot)) (i8x16.eq (local.get $before) (local.get $lf))))))
        (local.set $least (i8x16.min_u (local.get $least) (local.get $octets)))
        (local.set $most (i8x16.max_u (local.get $most) (local.get $octets)))
        (local.set $lines (i64.or (local.get $lines) (i64.shl (i64.extend_i32_u (i8x16.bitmask (local.get $feeds))) (i64.const 16))))
        (local.set $octets (v128.load offset=32 (local.get $at)))
        (local.set $before (v128.load offset=32 (local.get $prior)))
        (local.set $feeds (i8x16.eq (local.get $octets) (local.get $lf)))
        (local.set $doubt (v128.or (local.get $doubt) (v128.or
          (v128.xor (local.get $feeds) (i8x16.eq (local.get $before) (local.get $cr)))
          (v128.and (i8x16.eq (local.get $octets) (local.get $dot)) (i8x16.eq (local.get $before) (local.get $lf))))))
        (local.set $least (i8x16.min_u (local.get $least) (local.get $octets)))
        (local.set $most (i8x16.max_u (local.get $most) (local.get $octets)))
        (local.set $lines (i64.or (local.get $lines) (i64.shl (i64.extend_i32_u (i8x16.bitmask (local.get $feeds))) (i64.const 32))))
        (local.set $octets (v128.load offset=48 (local.get $at)))
        (local.set $before (v128.load offset=48 (local.get $prior)))
        (local.set $feeds (i8x16.eq (local.get $octets) (local.get $lf)))
        (local.set $doubt (v128.or (local.get $doubt) (v128.or
          (v128.xor (local.get $feeds) (i8x16.eq (local.get $before) (local.get $cr)))
          (v128.and (i8x16.eq (local.get $octets) (local.get $dot)) (i8x16.eq (local.get $before) (local.get $lf))))))
        (local.set $least (i8x16.min_u (local.get $least) (local.get $octets)))
        (local.set $most (i8x16.max_u (local.get $most) (local.get $octets)))
        (local.set $lines (i64.or (local.get $lines) (i64.shl (i64.extend_i32_u (i8x16.bitmask (local.get $feeds))) (i64.const 48))))
        (br_if $closely (v128.any_true
          (v128.or
            (local.get $doubt)
            (v128.or
              (i8x16.eq (local.get $least) (i8x16.splat (i32.const 0)))
              (i8x16.gt_u (local.get $most) (i8x16.splat (local.get $greatest)))))))
        (if (i32.eqz (i64.eqz (local.get $lines)))
          (then
            (local.set $feed (i32.add (local.get $at) (i32.wrap_i64 (i64.ctz (local.get $lines)))))
            (br_if $closely (i32.gt_s
              (i32.sub (i32.sub (local.get $feed) (i32.const 1)) (local.get $line))
              (local.get $limit)))
            (local.set $line (i32.sub
              (i32.add (local.get $at) (i32.const 64))
              (i32.wrap_i64 (i64.clz (local.get $lines)))))))
        (local.set $at (i32.add (local.get $at) (i32.const 64)))
        (br $block)))
    (block $stop
      (loop $block
        (br_if $stop (i32.gt_u (i32.add (local.get $at) (i32.const 16)) (local.get $end)))
        (local.set $octets (v128.load (local.get $at)))
        ;; The same, each octet replaced by the one before it.
        (local.set $before (v128.load (i32.sub (local.get $at) (i32.const 1))))
        (local.set $feeds (i8x16.eq (local.get $octets) (local.get $lf)))
        (br_if $stop (v128.any_true
          (v128.or
            (v128.or
              ;; A LF without CR before it, or anything else behind a CR.
              (v128.xor (local.get $feeds) (i8x16.eq (local.get $before) (local.get $cr)))
              (v128.and
                (i8x16.eq (local.get $octets) (local.get $dot))
                (i8x16.eq (local.get $before) (local.get $lf))))
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
