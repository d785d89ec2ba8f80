// Whole windows of a HEIGHT x WIDTH plane with GROUPS tokens a place, channels last: of every window all places in one word, the tokens of
// a window one after the other. A token that comes in passes through lines as long as the distance of two rows, and of two columns, of the
// kernel; what stands at their ends are the places of a window, which is complete with its last one. Places above ABOVE rows and LEFT
// columns before the plane, and behind it, are filled. In an iteration (`fire`) a token is read while there are any, and a window written
// where one is complete; it leaves behind a register. Whether to read and to write is known an iteration before.
// Where a token has TALL rows of WIDE places, what leaves has the places that all windows in it need, each once: of ROWS_TAKEN rows and
// COLUMNS_TAKEN columns the first is ROW_FROM (COLUMN_FROM) places after where the window of tokens begins, the others ROW_STEP each.
module whole_window #(
    parameter integer HEIGHT = 8,
    parameter integer WIDTH = 8,
    parameter integer GROUPS = 1,
    parameter integer KH = 3,
    parameter integer KW = 3,
    parameter integer SH = 1,
    parameter integer SW = 1,
    parameter integer DH = 1,
    parameter integer DW = 1,
    parameter integer ROWS = 6,
    parameter integer COLUMNS = 6,
    parameter integer ABOVE = 0,
    parameter integer LEFT = 0,
    parameter integer BITS = 8,
    parameter integer TALL = 1,
    parameter integer ROW_FROM = 0,
    parameter integer ROW_STEP = 1,
    parameter integer ROWS_TAKEN = KH,
    parameter integer WIDE = 1,
    parameter integer COLUMN_FROM = 0,
    parameter integer COLUMN_STEP = 1,
    parameter integer COLUMNS_TAKEN = KW,
    parameter [BITS-1:0] FILL = 0,
    parameter integer PLACES = 64,
    parameter integer FIRST = 18,
    parameter integer NEXT_ROW = 2,
    parameter ROW_STYLE = "shift",
    parameter COLUMN_STYLE = "shift"
) (
    input clk,
    input reset,
    input fire,
    input [BITS-1:0] in_data,
    output reads,
    output writes,
    output reg [ROWS_TAKEN*COLUMNS_TAKEN*(BITS/(TALL*WIDE))-1:0] out_data
);
  localparam integer MOST = FIRST > NEXT_ROW ? (FIRST > SW - 1 ? FIRST : SW - 1) : NEXT_ROW > SW - 1 ? NEXT_ROW : SW - 1;
  localparam integer PLACE = BITS / (TALL * WIDE);
  localparam integer BG = MOST > 0 ? $clog2(MOST + 1) : 1;
  localparam integer BP = PLACES > 1 ? $clog2(PLACES) : 1;
  localparam integer BI = ROWS > 1 ? $clog2(ROWS) : 1;
  localparam integer BJ = COLUMNS > 1 ? $clog2(COLUMNS) : 1;

  wire next_place;  // with the last token of one
  wire [(GROUPS > 1 ? $clog2(GROUPS) : 1)-1:0] group;
  wire [BP-1:0] place;
  wire over;  // with the last place
  wire [BI-1:0] i;  // the next window
  wire [BJ-1:0] j;
  wire last_column, last_row;
  counter #(.LIMIT(GROUPS)) count_groups (.clk(clk), .reset(reset), .step(fire), .restart(1'b0), .place(group), .ended(next_place));
  wire advance = fire && next_place;
  counter #(.LIMIT(PLACES)) count_places (.clk(clk), .reset(reset), .step(advance), .restart(1'b0), .place(place), .ended(over));
  counter #(.LIMIT(COLUMNS)) count_columns (.clk(clk), .reset(reset), .step(advance && writes), .restart(1'b0), .place(j), .ended(last_column));
  counter #(.LIMIT(ROWS)) count_rows (
      .clk(clk), .reset(reset), .step(advance && writes && last_column), .restart(1'b0), .place(i), .ended(last_row));

  // Places to come before that which completes the next window; there are some after the last one.
  reg [BG-1:0] gap;
  reg complete, open, reading;
  assign reads = reading;
  assign writes = complete;
  wire [BG-1:0] next_gap = !complete ? gap - BG'(1) : last_column ? BG'(NEXT_ROW) : BG'(SW - 1);
  wire last_window = complete && last_column && last_row;
  wire next_open = open && !last_window;
  always @(posedge clk)
    if (reset || (advance && over)) begin
      gap <= BG'(FIRST);
      complete <= FIRST == 0;
      open <= 1;
      reading <= 1;
    end else if (advance) begin
      gap <= next_gap;
      complete <= next_open && next_gap == 0;
      open <= next_open;
      if (place == BP'(HEIGHT * WIDTH - 1)) reading <= 0;
    end

  // Rows of the kernel, the lowest first in the plane; of each its columns.
  wire [KH*BITS-1:0] now;
  wire [KW*KH*BITS-1:0] columns;
  assign now[(KH-1)*BITS+:BITS] = in_data;
  assign columns[(KW-1)*KH*BITS+:KH*BITS] = now;
  generate
    genvar k, l;
    if (KH > 1) begin : g_rows
      wire [(KH-1)*BITS-1:0] into, out;
      line_buffer #(.DEPTH(DH * WIDTH * GROUPS), .WIDTH((KH - 1) * BITS), .STYLE(ROW_STYLE)) lines (.clk(clk), .enable(fire), .x(into), .y(out));
      assign now[0+:(KH-1)*BITS] = out;
      assign into = now[BITS+:(KH-1)*BITS];
    end
    if (KW > 1) begin : g_columns
      wire [(KW-1)*KH*BITS-1:0] into, out;
      line_buffer #(.DEPTH(DW * GROUPS), .WIDTH((KW - 1) * KH * BITS), .STYLE(COLUMN_STYLE)) lines (
          .clk(clk), .enable(fire), .x(into), .y(out));
      assign columns[0+:(KW-1)*KH*BITS] = out;
      assign into = columns[KH*BITS+:(KW-1)*KH*BITS];
    end
    wire [KH-1:0] inside_row;
    wire [KW-1:0] inside_column;
    for (k = 0; k < KH; k = k + 1) begin : g_inside_row
      localparam integer LOW = k * DH >= ABOVE ? 0 : (ABOVE - k * DH + SH - 1) / SH;
      localparam integer HIGH = k * DH >= HEIGHT + ABOVE ? -1 : (HEIGHT - 1 + ABOVE - k * DH) / SH;
      assign inside_row[k] = LOW < ROWS && HIGH >= 0 && (LOW == 0 || i >= BI'(LOW)) && (HIGH >= ROWS - 1 || i <= BI'(HIGH));
    end
    for (l = 0; l < KW; l = l + 1) begin : g_inside_column
      localparam integer LOW = l * DW >= LEFT ? 0 : (LEFT - l * DW + SW - 1) / SW;
      localparam integer HIGH = l * DW >= WIDTH + LEFT ? -1 : (WIDTH - 1 + LEFT - l * DW) / SW;
      assign inside_column[l] = LOW < COLUMNS && HIGH >= 0 && (LOW == 0 || j >= BJ'(LOW)) && (HIGH >= COLUMNS - 1 || j <= BJ'(HIGH));
    end
    for (k = 0; k < ROWS_TAKEN; k = k + 1) begin : g_out_row
      for (l = 0; l < COLUMNS_TAKEN; l = l + 1) begin : g_out
        localparam integer Y = ROW_FROM + k * ROW_STEP;
        localparam integer X = COLUMN_FROM + l * COLUMN_STEP;
        if (Y < 0 || Y >= KH * TALL || X < 0 || X >= KW * WIDE) begin : g_outside
          always @(posedge clk) out_data[(k*COLUMNS_TAKEN+l)*PLACE+:PLACE] <= FILL[0+:PLACE];
        end else begin : g_inside
          localparam integer START = (X / WIDE * KH + Y / TALL) * BITS + (Y % TALL * WIDE + X % WIDE) * PLACE;
          always @(posedge clk)
            out_data[(k*COLUMNS_TAKEN+l)*PLACE+:PLACE] <=
                inside_row[Y/TALL] && inside_column[X/WIDE] ? columns[START+:PLACE] : FILL[0+:PLACE];
        end
      end
    end
  endgenerate
endmodule
