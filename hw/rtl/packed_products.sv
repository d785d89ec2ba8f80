// Products in DSP blocks: of `w`, ROWS weights of W bits for each of TERMS numbers of X bits, those of a number are side by side in the wide
// operand of one block, of WIDE bits, SPACING bits apart. `y` has for every row the sum of its products, SPACING bits each. With half of a place
// added, a lower product borrows nothing from the upper one, which is right as it stands; its highest bit is turned back. TERMS blocks,
// one or two, stand behind one another, each a register later; y is there TERMS + 1 registers behind w and x.
module packed_products #(
    parameter integer ROWS = 2,
    parameter integer SPACING = 17,
    parameter integer WIDE = 25,
    parameter integer TERMS = 2,
    parameter integer W = 8,
    parameter integer X = 9
) (
    input clk,
    input [TERMS*ROWS*W-1:0] w,
    input [TERMS*X-1:0] x,
    output [ROWS*SPACING-1:0] y
);
  localparam integer P = ROWS * SPACING > WIDE + X ? ROWS * SPACING : WIDE + X;

  function automatic signed [P-1:0] offsets(input integer unused);
    integer k;
    offsets = 0;
    for (k = 0; k < ROWS - 1; k = k + 1) offsets = offsets | (P'(1) << (SPACING * (k + 1) - 1));
  endfunction

  wire signed [P-1:0] sums[0:TERMS];
  assign sums[0] = offsets(0);
  generate
    genvar t, r;
    for (t = 0; t < TERMS; t = t + 1) begin : g_term
      wire signed [WIDE-1:0] place[0:ROWS];
      assign place[0] = 0;
      for (r = 0; r < ROWS; r = r + 1) begin : g_row
        wire signed [W-1:0] weight = w[(t*ROWS+r)*W+:W];
        assign place[r+1] = r == 0 ? WIDE'(weight) : (WIDE'(weight) <<< (SPACING * r)) + place[r];
      end
      wire signed [X-1:0] number = x[t*X+:X];
      reg signed [P-1:0] product, sum;
      if (t == 0) begin : g_first
        always @(posedge clk) product <= place[ROWS] * number;
      end else begin : g_later
        reg signed [WIDE-1:0] waits;
        reg signed [X-1:0] number_waits;
        always @(posedge clk) begin
          waits <= place[ROWS];
          number_waits <= number;
          product <= waits * number_waits;
        end
      end
      always @(posedge clk) sum <= product + sums[t];
      assign sums[t+1] = sum;
    end
    for (r = 0; r < ROWS; r = r + 1) begin : g_out
      wire [SPACING-1:0] own = sums[TERMS][r*SPACING+:SPACING];
      assign y[r*SPACING+:SPACING] = r == ROWS - 1 ? own : {~own[SPACING-1], own[SPACING-2:0]};
    end
  endgenerate
endmodule
