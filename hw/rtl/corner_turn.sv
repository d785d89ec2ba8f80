// LANES memories that are read across: a word has an element in each, turned by in_turn memories; of the elements of q one is in each memory,
// of words that are STEP apart, from word `from` on and from memory out_turn on.
module corner_turn #(
    parameter integer LANES = 4,
    parameter integer DEPTH = 64,
    parameter integer WIDTH = 8,
    parameter integer STEP = 4,
    parameter STYLE = "distributed",
    parameter integer S = DEPTH > 1 ? $clog2(DEPTH) : 1,
    parameter integer L = LANES > 1 ? $clog2(LANES) : 1
) (
    input clk,
    input write,
    input [S-1:0] to,
    input [L-1:0] in_turn,
    input [LANES*WIDTH-1:0] in_data,
    input [S-1:0] from,
    input [L-1:0] out_turn,
    output [LANES*WIDTH-1:0] q
);
  reg [L-1:0] turn;
  always @(posedge clk) turn <= out_turn;
  wire [WIDTH-1:0] word[0:LANES-1];
  genvar i;
  generate
    for (i = 0; i < LANES; i = i + 1) begin : g_lane
      // Which element of a word is in this memory, and which element of q.
      wire [L-1:0] taken = L'(i) >= in_turn ? L'(i) - in_turn : L'(i) + L'(LANES) - in_turn;
      wire [L-1:0] given = L'(i) >= out_turn ? L'(i) - out_turn : L'(i) + L'(LANES) - out_turn;
      ram #(.DEPTH(DEPTH), .WIDTH(WIDTH), .STYLE(STYLE)) memory (
          .clk(clk), .write(write), .to(to), .in_data(in_data[taken*WIDTH+:WIDTH]), .from(from + S'(given) * S'(STEP)), .q(word[i]));
      wire [L:0] place = (L+1)'(i) + (L+1)'(turn);
      assign q[i*WIDTH+:WIDTH] = word[L'(place >= (L+1)'(LANES) ? place - (L+1)'(LANES) : place)];
    end
  endgenerate
endmodule
