// y = WEIGHTS x over FOLDS cycles a group of PE rows: SIMD products a cycle and row, their sum into an accumulator. Weights come from one
// ROM, word (group * FOLDS + fold) = PE * SIMD codes (SIMD 0 of PE 0 in the low bits). The SIMD activations of a fold come in with
// `enable`; FOLDS cycles make one group, GROUPS groups one matrix-vector product, the same activations being presented to every group.
module matvec_folded #(
    parameter integer PE = 2,
    parameter integer SIMD = 4,
    parameter integer FOLDS = 4,
    parameter integer GROUPS = 1,
    parameter integer W = 4,
    parameter integer A = 4,
    parameter A_SIGNED = 1,
    parameter integer ACC = 16,
    parameter [GROUPS*FOLDS*PE*SIMD*W-1:0] WEIGHTS = 0,
    parameter ROM_STYLE = "block",
    parameter MUL_STYLE = "lut",
    parameter integer X = A + (A_SIGNED != 0 ? 0 : 1)
) (
    input clk,
    input reset,
    input enable,
    input [SIMD*A-1:0] x,
    output reg valid,
    output [PE*ACC-1:0] y
);
  localparam integer DEPTH = FOLDS * GROUPS;
  localparam integer S = DEPTH > 1 ? $clog2(DEPTH) : 1;
  localparam integer F = FOLDS > 1 ? $clog2(FOLDS) : 1;
  localparam [S-1:0] LAST_WORD = S'(DEPTH - 1);
  localparam [F-1:0] LAST_FOLD = F'(FOLDS - 1);
  reg [S-1:0] address;
  reg [F-1:0] fold;
  reg [SIMD*A-1:0] held;
  reg work, last;
  wire end_of_group = fold == LAST_FOLD;
  always @(posedge clk) begin
    // The ROM answers a cycle later: activations and control wait for it.
    if (enable) held <= x;
    work <= enable && !reset;
    last <= end_of_group;
    valid <= work && last && !reset;
    if (reset) begin
      address <= 0;
      fold <= 0;
    end else if (enable) begin
      address <= address == LAST_WORD ? 0 : address + 1'b1;
      fold <= end_of_group ? 0 : fold + 1'b1;
    end
  end

  wire [PE*SIMD*W-1:0] weights;
  rom #(.DEPTH(DEPTH), .WIDTH(PE * SIMD * W), .CONTENTS(WEIGHTS), .STYLE(ROM_STYLE), .S(S)) memory (
      .clk(clk), .enable(enable), .address(address), .q(weights)
  );
  genvar p, s;
  generate
    for (p = 0; p < PE; p = p + 1) begin : g_pe
      wire [SIMD*(W+X)-1:0] products;
      for (s = 0; s < SIMD; s = s + 1) begin : g_simd
        wire [W-1:0] weight = weights[(p*SIMD+s)*W+:W];
        wire [A-1:0] raw = held[s*A+:A];
        wire [X-1:0] value;
        if (A_SIGNED != 0) begin : g_signed
          assign value = raw;
        end else begin : g_unsigned
          assign value = {1'b0, raw};
        end
        if (W <= X) begin : g_rows_w
          mul #(.W(W), .A(X), .STYLE(MUL_STYLE)) multiplier (.w(weight), .a(value), .y(products[s*(W+X)+:W+X]));
        end else begin : g_rows_x
          mul #(.W(X), .A(W), .STYLE(MUL_STYLE)) multiplier (.w(value), .a(weight), .y(products[s*(W+X)+:W+X]));
        end
      end
      wire [W+X+$clog2(SIMD)-1:0] sum;
      adder_tree #(.TERMS(SIMD), .BITS(W + X)) tree (.x(products), .y(sum));
      accumulator #(.IN(W + X + $clog2(SIMD)), .BITS(ACC)) total (
          .clk(clk), .reset(reset), .enable(work), .last(last), .minus(1'b0), .x(sum), .y(y[p*ACC+:ACC])
      );
    end
  endgenerate
endmodule
