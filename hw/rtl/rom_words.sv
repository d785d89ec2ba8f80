// Words of a file of hexadecimal digits, as logic.
module rom_words #(
    parameter integer DEPTH = 256,
    parameter integer WIDTH = 8,
    parameter FILE = "",
    parameter integer S = DEPTH > 1 ? $clog2(DEPTH) : 1
) (
    input  [S-1:0] address,
    output [WIDTH-1:0] word
);
  (* rom_style = "logic" *) reg [WIDTH-1:0] words[0:DEPTH-1];
  initial if (FILE != "") $readmemh(FILE, words);
  assign word = words[address];
endmodule
