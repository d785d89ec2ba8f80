// Words of a file of hexadecimal digits behind a register. STYLE "block" or "distributed".
module rom_file #(
    parameter integer DEPTH = 256,
    parameter integer WIDTH = 8,
    parameter FILE = "",
    parameter STYLE = "block",
    parameter integer S = DEPTH > 1 ? $clog2(DEPTH) : 1
) (
    input clk,
    input [S-1:0] address,
    output reg [WIDTH-1:0] q
);
  generate
    if (STYLE == "block") begin : g_block
      (* rom_style = "block", ram_style = "block" *) reg [WIDTH-1:0] words[0:DEPTH-1];
      initial if (FILE != "") $readmemh(FILE, words);
      always @(posedge clk) q <= words[address];
    end else begin : g_logic
      wire [WIDTH-1:0] word;
      if (S > 5) begin : g_large
`ifdef YOSYS
        // Apart from the rest of a design: a mapper that may shape both at once takes up to twice the LUTs.
        (* keep_hierarchy *)
`endif
        rom_words #(.DEPTH(DEPTH), .WIDTH(WIDTH), .FILE(FILE), .S(S)) contents (.address(address), .word(word));
      end else begin : g_small
        rom_words #(.DEPTH(DEPTH), .WIDTH(WIDTH), .FILE(FILE), .S(S)) contents (.address(address), .word(word));
      end
      always @(posedge clk) q <= word;
    end
  endgenerate
endmodule
