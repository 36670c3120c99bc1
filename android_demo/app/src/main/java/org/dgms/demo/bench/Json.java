package org.dgms.demo.bench;

import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.json.JSONArray;
import org.json.JSONException;
import org.json.JSONObject;
import org.json.JSONTokener;

/**
 * JSON text to and from maps, lists, strings, numbers, booleans and null.
 *
 * <p>Reading is left to org.json. Writing is done here, because org.json's objects keep the order of their
 * keys on Android but not in its JVM edition, and files of the same content should be the same text.
 */
final class Json {
  private Json() {}

  /** The object that a text holds, with nothing after it. */
  static Map<String, Object> parseObject(String text) throws FormatException {
    try {
      JSONTokener tokener = new JSONTokener(text);
      Object value = tokener.nextValue();
      if (!(value instanceof JSONObject)) {
        throw new FormatException("the text must be a JSON object. Received: " + excerpt(text));
      }
      if (tokener.nextClean() != 0) {
        throw new FormatException("a JSON object must end the text. Received: more after it");
      }
      return toMap((JSONObject) value);
    } catch (JSONException e) {
      throw new FormatException(
          "the text must be JSON. Received: " + excerpt(text) + " (" + e.getMessage() + ")", e);
    } catch (StackOverflowError e) {
      throw new FormatException("JSON must not be nested thousands deep. Received: " + excerpt(text));
    }
  }

  private static Object fromOrgJson(Object value) throws JSONException {
    if (value instanceof JSONObject) {
      return toMap((JSONObject) value);
    }
    if (value instanceof JSONArray) {
      JSONArray array = (JSONArray) value;
      List<Object> list = new ArrayList<Object>(array.length());
      for (int i = 0; i < array.length(); i++) {
        list.add(fromOrgJson(array.get(i)));
      }
      return list;
    }
    return JSONObject.NULL.equals(value) ? null : value;
  }

  private static Map<String, Object> toMap(JSONObject object) throws JSONException {
    Map<String, Object> map = new LinkedHashMap<String, Object>();
    for (Iterator<String> keys = object.keys(); keys.hasNext(); ) {
      String key = keys.next();
      map.put(key, fromOrgJson(object.get(key)));
    }
    return map;
  }

  private static String excerpt(String text) {
    String start = text.length() > 40 ? text.substring(0, 40) + "..." : text;
    return "\"" + start.replace('\n', ' ') + "\"";
  }

  /**
   * Indented text of a map, in the map's own order; lists without objects stay on one line. Ends with a line
   * feed.
   */
  static String write(Map<String, ?> object) {
    StringBuilder out = new StringBuilder();
    writeValue(object, 0, out);
    return out.append('\n').toString();
  }

  private static void writeValue(Object value, int depth, StringBuilder out) {
    if (value == null || value instanceof Boolean) {
      out.append(value);
    } else if (value instanceof Number) {
      writeNumber((Number) value, out);
    } else if (value instanceof Map) {
      writeMap((Map<?, ?>) value, depth, out);
    } else if (value instanceof List) {
      writeList((List<?>) value, depth, out);
    } else if (value instanceof String) {
      writeString((String) value, out);
    } else {
      throw new IllegalArgumentException(
          "JSON cannot hold a " + value.getClass().getName() + ". Received: " + value);
    }
  }

  private static void writeNumber(Number value, StringBuilder out) {
    double number = value.doubleValue();
    if (Double.isNaN(number) || Double.isInfinite(number)) {
      throw new IllegalArgumentException("a number in JSON must be finite. Received: " + number);
    }
    out.append(value);
  }

  private static void writeMap(Map<?, ?> map, int depth, StringBuilder out) {
    out.append('{');
    String separator = "";
    for (Map.Entry<?, ?> entry : map.entrySet()) {
      out.append(separator);
      newLine(depth + 1, out);
      writeString((String) entry.getKey(), out);
      out.append(": ");
      writeValue(entry.getValue(), depth + 1, out);
      separator = ",";
    }
    if (!map.isEmpty()) {
      newLine(depth, out);
    }
    out.append('}');
  }

  private static void writeList(List<?> list, int depth, StringBuilder out) {
    boolean holdsObjects = !list.isEmpty() && list.get(0) instanceof Map;
    out.append('[');
    String separator = "";
    for (Object value : list) {
      out.append(separator);
      if (holdsObjects) {
        newLine(depth + 1, out);
      } else if (!separator.isEmpty()) {
        out.append(' ');
      }
      writeValue(value, depth + 1, out);
      separator = ",";
    }
    if (holdsObjects) {
      newLine(depth, out);
    }
    out.append(']');
  }

  private static void newLine(int depth, StringBuilder out) {
    out.append('\n');
    for (int i = 0; i < depth; i++) {
      out.append("  ");
    }
  }

  private static void writeString(String text, StringBuilder out) {
    out.append('"');
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      if (c == '"' || c == '\\') {
        out.append('\\').append(c);
      } else if (c < 0x20 || c == 0x2028 || c == 0x2029 || Character.isSurrogate(c)) {
        // Surrogates are escaped too: a lone one (half a character) has no UTF-8 form.
        out.append("\\u");
        for (int shift = 12; shift >= 0; shift -= 4) {
          out.append(Character.forDigit((c >> shift) & 15, 16));
        }
      } else {
        out.append(c);
      }
    }
    out.append('"');
  }
}
