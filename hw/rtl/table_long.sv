// The same as table_lut, of many bits: said to be logic, else tools make block RAM of it and of the register behind it.
module table_long #(
    parameter integer IN = 9,
    parameter integer OUT = 4,
    parameter [OUT*(1<<IN)-1:0] CONTENTS = 0
) (
    input  [IN-1:0] x,
    output [OUT-1:0] y
);
  (* rom_style = "logic" *) reg [OUT-1:0] words[0:(1<<IN)-1];
  integer i;
  initial for (i = 0; i < (1 << IN); i = i + 1) words[i] = CONTENTS[i*OUT+:OUT];
  assign y = words[x];
endmodule
