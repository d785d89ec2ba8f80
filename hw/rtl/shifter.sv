// y = x << amount (or >> if RIGHT), amount 0 to MAX: a stage of multiplexers per bit of the amount.
module shifter #(
    parameter integer BITS = 8,
    parameter integer MAX = 7,
    parameter RIGHT = 0,
    parameter integer Y = RIGHT != 0 ? BITS : BITS + MAX,
    parameter integer S = $clog2(MAX + 1)
) (
    input [BITS-1:0] x,
    input [S-1:0] amount,
    output [Y-1:0] y
);
  wire [Y*(S+1)-1:0] stage  /* verilator split_var */;
  genvar i;
  assign stage[Y-1:0] = Y'(x);
  generate
    for (i = 0; i < S; i = i + 1) begin : g_stage
      if (RIGHT != 0) begin : g_right
        assign stage[(i+1)*Y+:Y] = amount[i] ? stage[i*Y+:Y] >> (1 << i) : stage[i*Y+:Y];
      end else begin : g_left
        assign stage[(i+1)*Y+:Y] = amount[i] ? stage[i*Y+:Y] << (1 << i) : stage[i*Y+:Y];
      end
    end
  endgenerate
  assign y = stage[S*Y+:Y];
endmodule
