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
  genvar k, b;

  // A constant as an unsigned number in the order of the signed ones.
  localparam [ACC-1:0] SIGN = SIGNED != 0 ? {1'b1, {(ACC - 1) {1'b0}}} : {ACC{1'b0}};
  function automatic integer lowest(input [ACC-1:0] cut);
    integer i;
    lowest = ACC;
    for (i = ACC - 1; i >= 0; i = i - 1) if (cut[i]) lowest = i;
  endfunction

  generate
    for (k = 0; k < FULL; k = k + 1) begin : g_cut
      if (k >= K) begin : g_none
        assign at_least[k] = 1'b0;
      end else begin : g_constant
        // From the lowest set bit of the constant up, six bits and then five at a time; every number reaches a constant without any.
        localparam [ACC-1:0] CUT = CUTS[k*ACC+:ACC] ^ SIGN;
        localparam integer LOW = lowest(CUT);
        localparam integer PARTS = ACC - LOW <= 6 ? 1 : 1 + (ACC - LOW - 2) / 5;
        if (LOW == ACC) begin : g_all
          assign at_least[k] = 1'b1;
        end else if (LOW == ACC - 1) begin : g_one
          assign at_least[k] = SIGNED != 0 ? ~a[ACC-1] : a[ACC-1];
        end else begin : g_parts
          wire [PARTS:0] link;
          assign link[0] = 1'b1;
          genvar i;
          for (i = 0; i < PARTS; i = i + 1) begin : g_part
            localparam integer FROM = i == 0 ? LOW : LOW + 1 + 5 * i;
            localparam integer BITS = i == PARTS - 1 ? ACC - FROM : i == 0 ? 6 : 5;
            compare_part #(
                .BITS(BITS), .CUT(CUT[FROM+:BITS]), .FIRST(i == 0), .TURN(SIGNED != 0 && i == PARTS - 1)
            ) part (
                .a(a[FROM+:BITS]), .below(link[i]), .reached(link[i+1])
            );
          end
          assign at_least[k] = link[PARTS];
        end
      end
    end
    if (Y == 1) begin : g_only
      assign y = at_least;
    end else begin : g_bits
      for (b = Y - 1; b >= 0; b = b - 1) begin : g_bit
        localparam integer N = (2 << b) - 1;
        wire [N-1:0] half;  // the comparators that still matter where bit b is to be found
        wire place = half[(1<<b)-1];
        if (b == Y - 1) begin : g_all
          assign half = at_least;
        end else begin : g_part
          assign half = g_bit[b+1].place ? g_bit[b+1].half[N+1+:N] : g_bit[b+1].half[0+:N];
        end
        assign y[b] = place;
      end
    end
  endgenerate
endmodule
