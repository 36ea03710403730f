import { frame } from "./page.js";

frame("status");
