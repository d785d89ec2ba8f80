// Number of constants in CUTS (ascending, cut 0 in the low bits) that are <= a: one comparator each, then the position of the last one
// that holds by halving.
module thresholds #(
    parameter integer ACC = 16,
    parameter SIGNED = 1,
    parameter integer K = 3,
    parameter [K*ACC-1:0] CUTS = 0,
    parameter integer Y = $clog2(K + 1)
) (
    input [ACC-1:0] a,
    output [Y-1:0] y
);
  localparam integer FULL = (1 << Y) - 1;
  wire [FULL-1:0] at_least;
  wire [FULL*Y-1:0] half;
  genvar k, b;

  // From the lowest bit: a number with a bit where the constant has none is above it, whatever is below. A chain of and / or, of which
  // one LUT6 takes five bits.
  function automatic reached(input [ACC-1:0] value, input [ACC-1:0] cut);
    integer i;
    reached = 1'b1;
    for (i = 0; i < ACC; i = i + 1)
      if (cut[i] ^ (SIGNED != 0 && i == ACC - 1)) reached = (value[i] ^ (SIGNED != 0 && i == ACC - 1)) & reached;
      else reached = (value[i] ^ (SIGNED != 0 && i == ACC - 1)) | reached;
  endfunction

  generate
    for (k = 0; k < FULL; k = k + 1) begin : g_cut
      if (k >= K) begin : g_none
        assign at_least[k] = 1'b0;
      end else begin : g_constant
        assign at_least[k] = reached(a, CUTS[k*ACC+:ACC]);
      end
    end
    for (b = Y - 1; b >= 0; b = b - 1) begin : g_bit
      // `half` is the part of the comparators that still matters, 2**(b+1) - 1 of them.
      if (b == Y - 1) begin : g_all
        assign half[b*FULL+:FULL] = at_least;
      end else begin : g_part
        wire [FULL-1:0] whole = half[(b+1)*FULL+:FULL];
        localparam [FULL-1:0] LOWER = (1 << ((1 << (b + 1)) - 1)) - 1;
        assign half[b*FULL+:FULL] = y[b+1] ? whole >> (1 << (b + 1)) : whole & LOWER;
      end
      assign y[b] = half[b*FULL+(1<<b)-1];
    end
  endgenerate
endmodule
