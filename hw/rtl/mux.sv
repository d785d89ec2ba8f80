// y = element `select` of x (element 0 in the low bits).
module mux #(
    parameter integer N = 4,
    parameter integer BITS = 8,
    parameter integer S = $clog2(N)
) (
    input [N*BITS-1:0] x,
    input [S-1:0] select,
    output [BITS-1:0] y
);
  localparam integer FULL = 1 << S;
  wire [FULL*BITS-1:0] padded;
  wire [BITS*(2*FULL-1)-1:0] tree  /* verilator split_var */;
  genvar i;
  // A tree of pairs: node i chooses between nodes 2i + 1 and 2i + 2; the leaves are the inputs.
  generate
    if (FULL == N) begin : g_full
      assign padded = x;
    end else begin : g_padded
      assign padded = {{(FULL - N) * BITS{1'bx}}, x};
    end
    for (i = 0; i < FULL; i = i + 1) begin : g_leaf
      assign tree[(FULL-1+i)*BITS+:BITS] = padded[i*BITS+:BITS];
    end
    for (i = 0; i < FULL - 1; i = i + 1) begin : g_node
      assign tree[i*BITS+:BITS] = select[S-$clog2(i+2)] ? tree[(2*i+2)*BITS+:BITS] : tree[(2*i+1)*BITS+:BITS];
    end
  endgenerate
  assign y = tree[BITS-1:0];
endmodule
