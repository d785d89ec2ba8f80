// Product of two variables. STYLE "lut": rows of a & w[i] added one below the other (one LUT6 a bit and row), or a table where both
// operands together are the input of one LUT6; "dsp": left to the tool, which takes a hard multiplier. Row count: bits of w, so w is the
// narrower operand.
module mul #(
    parameter integer W = 8,
    parameter integer A = 8,
    parameter SIGNED = 1,
    parameter STYLE = "lut"
) (
    input  [W-1:0] w,
    input  [A-1:0] a,
    output [W+A-1:0] y
);
  // Number `code` of `bits` bits, as an integer: only for tables of at most 6 input bits.
  function automatic integer number(input integer code, input integer bits);
    number = SIGNED != 0 && code >= (1 << (bits - 1)) ? code - (1 << bits) : code;
  endfunction

  function automatic [(W+A)*64-1:0] products(input integer unused);
    integer i;
    products = 0;
    for (i = 0; i < 64; i = i + 1)
      if (i < (1 << (W + A)))
        products = products | ((((W + A) * 64)'(number(i >> A, W) * number(i & ((1 << A) - 1), A)) & ((1 << (W + A)) - 1)) << (i * (W + A)));
  endfunction

  generate
    if (STYLE == "dsp") begin : g_dsp
      if (SIGNED != 0) begin : g_signed
        assign y = $signed(w) * $signed(a);
      end else begin : g_unsigned
        assign y = w * a;
      end
    end else if (W + A <= 6) begin : g_table
      localparam [(W+A)*64-1:0] ALL = products(0);
      table_lut #(.IN(W + A), .OUT(W + A), .CONTENTS(ALL[(W+A)*(1<<(W+A))-1:0])) product (.x({w, a}), .y(y));
    end else begin : g_rows
      // A wire of its own for every row: simulators look at all that reads any bit of a wire.
      genvar i;
      for (i = 0; i < W; i = i + 1) begin : g_row
        wire [A-1:0] part = a & {A{w[i]}};
        wire sign = SIGNED != 0 ? part[A-1] : 1'b0;
        wire [A:0] sum;  // so far, without the bits that are final
        if (i == 0) begin : g_first
          // A single bit of a signed number is 0 or -1.
          assign sum = SIGNED != 0 && W == 1 ? -{sign, part} : {sign, part};
        end else begin : g_next
          wire [A-1:0] above = g_row[i-1].sum[A:1];
          wire carry = SIGNED != 0 ? above[A-1] : 1'b0;
          if (SIGNED != 0 && i == W - 1) begin : g_last
            // The highest bit of a two's complement number counts negatively.
            assign sum = {carry, above} - {sign, part};
          end else begin : g_inner
            assign sum = {carry, above} + {sign, part};
          end
        end
        if (i < W - 1) begin : g_final
          assign y[i] = sum[0];
        end
      end
      assign y[W+A-1:W-1] = g_row[W-1].sum;
    end
  endgenerate
endmodule
