// Constants behind a register: q <= entry `address` of CONTENTS (entry 0 in the low bits). STYLE "block" or "distributed".
module rom #(
    parameter integer DEPTH = 256,
    parameter integer WIDTH = 8,
    parameter [DEPTH*WIDTH-1:0] CONTENTS = 0,
    parameter STYLE = "block",
    parameter integer S = $clog2(DEPTH)
) (
    input clk,
    input enable,
    input [S-1:0] address,
    output [WIDTH-1:0] q
);
  reg [WIDTH-1:0] data;
  integer i;
  assign q = data;
  generate
    if (STYLE == "block") begin : g_block
      (* rom_style = "block", ram_style = "block" *) reg [WIDTH-1:0] words[0:(1<<S)-1];
      initial for (i = 0; i < (1 << S); i = i + 1) words[i] = i < DEPTH ? CONTENTS[i*WIDTH+:WIDTH] : {WIDTH{1'bx}};
      always @(posedge clk) if (enable) data <= words[address];
    end else begin : g_logic
      wire [WIDTH-1:0] word;
      // Apart from what follows: a mapper that may shape both at once takes up to twice the LUTs.
      (* keep_hierarchy *)
      table_lut #(.IN(S), .OUT(WIDTH), .CONTENTS({{((1 << S) - DEPTH) * WIDTH{1'bx}}, CONTENTS})) words (.x(address), .y(word));
      always @(posedge clk) if (enable) data <= word;
    end
  endgenerate
endmodule
