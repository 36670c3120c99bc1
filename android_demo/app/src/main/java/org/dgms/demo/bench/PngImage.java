package org.dgms.demo.bench;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.File;
import java.io.IOException;
import java.util.zip.DataFormatException;
import java.util.zip.Inflater;

/**
 * The pixels of a PNG file: 8 bits a channel, grey or RGB, not interlaced.
 *
 * <p>Android's BitmapFactory and the desktop's ImageIO may convert colours; a model's input has to be the
 * same bytes everywhere, so sample images are decoded here. Source: PNG specification, third edition,
 * sections 5, 7 and 9.
 */
public final class PngImage {
  private static final byte[] SIGNATURE = {(byte) 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  private static final int IHDR = 0x49484452;
  private static final int IDAT = 0x49444154;
  private static final int IEND = 0x49454e44;
  private static final int GREY = 0;
  private static final int RGB = 2;
  private static final int MAX_SIDE = 4096;

  private final int width;
  private final int height;
  private final int channels;
  private final byte[] pixels;

  private PngImage(int width, int height, int channels, byte[] pixels) {
    this.width = width;
    this.height = height;
    this.channels = channels;
    this.pixels = pixels;
  }

  /** Pixel columns. */
  public int width() {
    return width;
  }

  /** Pixel rows. */
  public int height() {
    return height;
  }

  /** 1 (grey) or 3 (red, green, blue). */
  public int channels() {
    return channels;
  }

  /** One channel of a pixel, 0 to 255. */
  public int value(int row, int column, int channel) {
    return pixels[(row * width + column) * channels + channel] & 0xff;
  }

  /**
   * Reads a file.
   *
   * @throws FormatException the file is no such PNG
   * @throws IOException it cannot be read
   */
  public static PngImage read(File file) throws IOException {
    try {
      return decode(Files.readBytes(file));
    } catch (FormatException e) {
      throw new FormatException(file.getName() + ": " + e.getMessage(), e);
    } catch (EOFException e) {
      throw new FormatException(
          file.getName() + ": the image must be complete. Received: the file ends too early", e);
    }
  }

  private static PngImage decode(byte[] bytes) throws IOException {
    DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes));
    for (byte expected : SIGNATURE) {
      if (in.readByte() != expected) {
        throw new FormatException("the file must be a PNG. Received: another signature");
      }
    }
    int width = 0;
    int height = 0;
    int channels = 0;
    ByteArrayOutputStream packed = new ByteArrayOutputStream();
    while (true) {
      int length = in.readInt();
      int type = in.readInt();
      if (length < 0 || length > in.available()) {
        throw new EOFException();
      }
      byte[] data = new byte[length];
      in.readFully(data);
      in.readInt(); // the checksum: a broken image shows as a broken zlib stream or as a wrong prediction
      if (type == IHDR) {
        DataInputStream header = new DataInputStream(new ByteArrayInputStream(data));
        width = side(header.readInt());
        height = side(header.readInt());
        channels = channels(header.readByte(), header.readByte(), header.readShort(), header.readByte());
      } else if (type == IDAT) {
        packed.write(data);
      } else if (type == IEND) {
        break;
      }
    }
    if (channels == 0) {
      throw new FormatException("a PNG must have a header. Received: none");
    }
    byte[] rows = inflate(packed.toByteArray(), height, width * channels);
    return new PngImage(width, height, channels, unfilter(rows, height, width * channels, channels));
  }

  private static int side(int pixels) throws FormatException {
    if (pixels < 1 || pixels > MAX_SIDE) {
      throw new FormatException(
          "an image must have 1 to " + MAX_SIDE + " pixels a side. Received: " + pixels);
    }
    return pixels;
  }

  private static int channels(byte depth, byte colour, short compressionAndFilter, byte interlace)
      throws FormatException {
    if (depth != 8 || (colour != GREY && colour != RGB) || compressionAndFilter != 0 || interlace != 0) {
      throw new FormatException(
          "an image must have 8 bits a channel, grey or RGB without alpha, not interlaced. Received: depth "
              + depth + ", colour type " + colour + ", interlace " + interlace);
    }
    return colour == RGB ? 3 : 1;
  }

  /** The rows, each with its filter's number before it. */
  private static byte[] inflate(byte[] packed, int height, int stride) throws IOException {
    byte[] rows = new byte[height * (stride + 1)];
    Inflater inflater = new Inflater();
    try {
      inflater.setInput(packed);
      int done = 0;
      while (done < rows.length) {
        int n = inflater.inflate(rows, done, rows.length - done);
        if (n == 0) {
          throw new EOFException();
        }
        done += n;
      }
    } catch (DataFormatException e) {
      throw new FormatException("an image's data must be a zlib stream. Received: " + e.getMessage(), e);
    } finally {
      inflater.end();
    }
    return rows;
  }

  /** Adds each byte's prediction from its neighbours: left, above and above left. */
  private static byte[] unfilter(byte[] rows, int height, int stride, int channels) throws FormatException {
    byte[] pixels = new byte[height * stride];
    for (int row = 0; row < height; row++) {
      int filter = rows[row * (stride + 1)];
      for (int i = 0; i < stride; i++) {
        int at = row * stride + i;
        int left = i >= channels ? pixels[at - channels] & 0xff : 0;
        int above = row > 0 ? pixels[at - stride] & 0xff : 0;
        int corner = row > 0 && i >= channels ? pixels[at - stride - channels] & 0xff : 0;
        pixels[at] = (byte) (rows[row * (stride + 1) + 1 + i] + predict(filter, left, above, corner));
      }
    }
    return pixels;
  }

  private static int predict(int filter, int left, int above, int corner) throws FormatException {
    switch (filter) {
      case 0:
        return 0;
      case 1:
        return left;
      case 2:
        return above;
      case 3:
        return (left + above) / 2;
      case 4:
        return paeth(left, above, corner);
      default:
        throw new FormatException("a row's filter must be from 0 to 4. Received: " + filter);
    }
  }

  /** Whichever of the three is nearest to left + above - corner; ties go to left, then above. */
  private static int paeth(int left, int above, int corner) {
    int toLeft = Math.abs(above - corner);
    int toAbove = Math.abs(left - corner);
    int toCorner = Math.abs(left + above - 2 * corner);
    if (toLeft <= toAbove && toLeft <= toCorner) {
      return left;
    }
    return toAbove <= toCorner ? above : corner;
  }
}
