// y = entry x of CONTENTS (entry 0 in the low bits): a function of few bits, as LUTs.
module table_lut #(
    parameter integer IN = 4,
    parameter integer OUT = 4,
    parameter [OUT*(1<<IN)-1:0] CONTENTS = 0
) (
    input  [IN-1:0] x,
    output [OUT-1:0] y
);
  assign y = CONTENTS[x*OUT+:OUT];
endmodule
