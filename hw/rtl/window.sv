// Windows of a HEIGHT x WIDTH plane with GROUPS tokens a place, channels last: rows are buffered, HELD of them, and the tokens of a window
// follow one another place by place, or (BY_GROUP) all places of a token before those of the next one. In an iteration (`fire`) a token is
// read where there is room, and one written where its window is complete; it leaves behind a register. Whether to read and to write is
// known an iteration before; after the last iteration of a plane the next one begins.
module window #(
    parameter integer HEIGHT = 8,
    parameter integer WIDTH = 8,
    parameter integer GROUPS = 1,
    parameter integer KH = 3,
    parameter integer KW = 3,
    parameter integer SH = 1,
    parameter integer SW = 1,
    parameter integer DH = 1,
    parameter integer DW = 1,
    parameter integer HELD = 4,
    parameter BY_GROUP = 0,
    parameter integer BITS = 8,
    parameter STYLE = "distributed"
) (
    input clk,
    input reset,
    input fire,
    input [BITS-1:0] in_data,
    output reads,
    output writes,
    output [BITS-1:0] out_data
);
  localparam integer ROWS = (HEIGHT - DH * (KH - 1) - 1) / SH + 1;
  localparam integer COLUMNS = (WIDTH - DW * (KW - 1) - 1) / SW + 1;
  localparam integer LINE = WIDTH * GROUPS;
  localparam integer SIZE = HELD * LINE;
  localparam integer DOWN = SH * LINE;
  localparam integer FIRST = ((KH - 1) * DH * WIDTH + (KW - 1) * DW + 1) * GROUPS;
  localparam integer ALL = HEIGHT * LINE;
  localparam integer STEP = BY_GROUP != 0 ? DW * GROUPS : DW * GROUPS - (GROUPS - 1);  // to the next column of a window
  localparam integer A = SIZE > 1 ? $clog2(SIZE) : 1;
  localparam integer C = $clog2(ALL + SIZE + DOWN + 2) + 2;  // counters with a sign
  typedef logic [A-1:0] address;
  typedef logic signed [C-1:0] count;
  localparam integer BI = ROWS > 1 ? $clog2(ROWS) : 1;
  localparam integer BJ = COLUMNS > 1 ? $clog2(COLUMNS) : 1;
  localparam integer BK = KH > 1 ? $clog2(KH) : 1;
  localparam integer BL = KW > 1 ? $clog2(KW) : 1;
  localparam integer BG = GROUPS > 1 ? $clog2(GROUPS) : 1;

  // An address some words further, in a circle.
  function automatic address further(input address at, input integer by);
    integer sum;
    sum = {{(32 - A) {1'b0}}, at} + by;
    further = address'(sum >= SIZE ? sum - SIZE : sum);
  endfunction

  address to, from, start, corner, top;  // to write, to read; row of the window, window, its row of windows
  count rest, space, lack;  // tokens to read; that there is room for; that the window lacks
  // The window, the place in it and the token of that.
  logic [BI-1:0] i, next_i;
  logic [BJ-1:0] j, next_j;
  logic [BK-1:0] k, next_k;
  logic [BL-1:0] l, next_l;
  logic [BG-1:0] g, next_g;
  logic open, reading, ready, nearly;
  assign reads = reading;
  assign writes = open && (reading ? nearly : ready);

  address next_to, next_from, next_start, next_corner, next_top;
  count next_rest, next_space, next_lack;
  logic next_open, over;
  wire last_group = g == BG'(GROUPS - 1);
  wire last_column = l == BL'(KW - 1);
  wire last_row = k == BK'(KH - 1);
  always_comb begin
    next_to = to;
    next_from = from;
    next_start = start;
    next_corner = corner;
    next_top = top;
    next_rest = rest;
    next_space = space;
    next_lack = lack;
    next_i = i;
    next_j = j;
    next_k = k;
    next_l = l;
    next_g = g;
    next_open = open;
    if (reading) begin
      next_to = further(to, 1);
      next_rest = rest - count'(1);
      next_space = space - count'(1);
      next_lack = lack - count'(1);
    end
    if (writes) begin
      if (BY_GROUP == 0 && !last_group) begin
        next_g = g + 1'b1;
        next_from = further(from, 1);
      end else if (!last_column) begin
        if (BY_GROUP == 0) next_g = 0;
        next_l = l + 1'b1;
        next_from = further(from, STEP);
      end else if (!last_row) begin
        if (BY_GROUP == 0) next_g = 0;
        next_l = 0;
        next_k = k + 1'b1;
        next_start = further(start, DH * LINE);
        next_from = next_start;
      end else if (BY_GROUP != 0 && !last_group) begin
        next_g = g + 1'b1;
        next_l = 0;
        next_k = 0;
        next_start = further(corner, int'(g) + 1);
        next_from = next_start;
      end else begin
        next_g = 0;
        next_l = 0;
        next_k = 0;
        if (j != BJ'(COLUMNS - 1)) begin
          next_j = j + 1'b1;
          next_corner = further(corner, SW * GROUPS);
          next_lack = next_lack + count'(SW * GROUPS);
        end else begin
          next_j = 0;
          next_top = further(top, DOWN);
          next_corner = next_top;
          next_lack = next_lack + count'(DOWN - (COLUMNS - 1) * SW * GROUPS);
          next_space = next_space + count'(DOWN);
          next_open = i != BI'(ROWS - 1);
          next_i = i + 1'b1;
        end
        next_start = next_corner;
        next_from = next_corner;
      end
    end
    over = next_rest == 0 && !next_open;
  end
  always_ff @(posedge clk)
    if (reset || (fire && over)) begin
      to <= 0;
      from <= 0;
      start <= 0;
      corner <= 0;
      top <= 0;
      rest <= count'(ALL);
      space <= count'(SIZE);
      lack <= count'(FIRST);
      i <= 0;
      j <= 0;
      k <= 0;
      l <= 0;
      g <= 0;
      open <= 1;
      reading <= 1;
      ready <= FIRST <= 0;
      nearly <= FIRST <= 1;
    end else if (fire) begin
      to <= next_to;
      from <= next_from;
      start <= next_start;
      corner <= next_corner;
      top <= next_top;
      rest <= next_rest;
      space <= next_space;
      lack <= next_lack;
      i <= next_i;
      j <= next_j;
      k <= next_k;
      l <= next_l;
      g <= next_g;
      open <= next_open;
      reading <= next_rest != 0 && (!next_open || next_space > 0);
      ready <= next_lack <= 0;
      nearly <= next_lack <= 1;
    end

  generate
    if (STYLE == "block") begin : g_block
      // A word that is written in this very iteration goes around the memory.
      (* ram_style = "block", no_rw_check *) reg [BITS-1:0] words[0:SIZE-1];
      reg [BITS-1:0] read, passed;
      reg around;
      always_ff @(posedge clk) begin
        if (fire && reading) words[to] <= in_data;
        read <= words[from];
        passed <= in_data;
        around <= reading && to == from;
      end
      assign out_data = around ? passed : read;
    end else begin : g_distributed
      (* ram_style = "distributed" *) reg [BITS-1:0] words[0:SIZE-1];
      reg [BITS-1:0] read;
      always_ff @(posedge clk) begin
        if (fire && reading) words[to] <= in_data;
        read <= reading && to == from ? in_data : words[from];
      end
      assign out_data = read;
    end
  endgenerate
endmodule
