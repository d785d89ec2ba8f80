// LANES memories through which elements cross: element pick[i] of a word goes into memory i, which gives what is at[i] places behind `base`;
// element i of q comes from memory out[i].
module crossed_memory #(
    parameter integer LANES = 4,
    parameter integer DEPTH = 64,
    parameter integer WIDTH = 8,
    parameter integer PLACE = 6,
    parameter STYLE = "distributed",
    parameter integer S = DEPTH > 1 ? $clog2(DEPTH) : 1,
    parameter integer L = LANES > 1 ? $clog2(LANES) : 1
) (
    input clk,
    input write,
    input [S-1:0] to,
    input [LANES*L-1:0] pick,
    input [LANES*WIDTH-1:0] in_data,
    input [S-1:0] base,
    input [LANES*PLACE-1:0] at,
    input [LANES*L-1:0] out,
    output [LANES*WIDTH-1:0] q
);
  reg [LANES*L-1:0] from;
  always @(posedge clk) from <= out;
  wire [WIDTH-1:0] word[0:LANES-1];
  genvar i;
  generate
    for (i = 0; i < LANES; i = i + 1) begin : g_lane
      ram #(.DEPTH(DEPTH), .WIDTH(WIDTH), .STYLE(STYLE)) memory (
          .clk(clk), .write(write), .to(to), .in_data(in_data[pick[i*L+:L]*WIDTH+:WIDTH]), .from(base + S'(at[i*PLACE+:PLACE])), .q(word[i]));
      assign q[i*WIDTH+:WIDTH] = word[from[i*L+:L]];
    end
  endgenerate
endmodule
