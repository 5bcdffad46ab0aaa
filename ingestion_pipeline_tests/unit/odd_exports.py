"""Files as applications, machines and offices export them, each with the header and rows that a careful person sees.

What belongs here: texts and their truth; cells are told apart by `|`. What does not: reading them (`test_odd_files`).
"""

# ruff: noqa: E501
EXPORTS: dict[str, tuple[str | bytes, str, list[str]]] = {
    "dash for a mark": (
        "Name,Mark\nAnn,-\nBob,x2\nCy,x3\nDee,x4\n",
        "Name|Mark",
        ["Ann|-", "Bob|x2", "Cy|x3", "Dee|x4"],
    ),
    "dash for a phone": (
        "Name,City,Phone\nAnn,Rome,-\nBob,Bonn,555\nCy,Nice,556\nDee,Lund,557\n",
        "Name|City|Phone",
        ["Ann|Rome|-", "Bob|Bonn|555", "Cy|Nice|556", "Dee|Lund|557"],
    ),
    "unit for a phone": (
        "Name,City,Phone\nAnn,Rome,kg\nBob,Bonn,555\nCy,Nice,556\nDee,Lund,557\n",
        "Name|City|Phone",
        ["Ann|Rome|kg", "Bob|Bonn|555", "Cy|Nice|556", "Dee|Lund|557"],
    ),
    "n/a behind an address": (
        "First Name,Last Name,Email,Phone\nAnn,Lee,ann@x.org,n/a\nB0,L0,b0@x.org,555-0000\nB1,L1,b1@x.org,555-0001\nB2,L2,b2@x.org,555-0002\nB3,L3,b3@x.org,555-0003\nB4,L4,b4@x.org,555-0004\nB5,L5,b5@x.org,555-0005\nB6,L6,b6@x.org,555-0006\nB7,L7,b7@x.org,555-0007\n",
        "First Name|Last Name|Email|Phone",
        [
            "Ann|Lee|ann@x.org|n/a",
            "B0|L0|b0@x.org|555-0000",
            "B1|L1|b1@x.org|555-0001",
            "B2|L2|b2@x.org|555-0002",
            "B3|L3|b3@x.org|555-0003",
            "B4|L4|b4@x.org|555-0004",
            "B5|L5|b5@x.org|555-0005",
            "B6|L6|b6@x.org|555-0006",
            "B7|L7|b7@x.org|555-0007",
        ],
    ),
    "markup in cells": (
        'Handle,Title,Body\nmug,Mug,"<p class=""x"">Big</p>"\ncap,Cap,<p>Cap 0</p>\nhat,Hat,<p>Hat</p>\nsock,Sock,<p>S</p>\nbelt,Belt,<p>B</p>\nring,Ring,<p>R</p>\n',
        "Handle|Title|Body",
        [
            'mug|Mug|<p class="x">Big</p>',
            "cap|Cap|<p>Cap 0</p>",
            "hat|Hat|<p>Hat</p>",
            "sock|Sock|<p>S</p>",
            "belt|Belt|<p>B</p>",
            "ring|Ring|<p>R</p>",
        ],
    ),
    "a slash for a path": (
        "Path,Mount\nsda,/\ntmpfs,/dev/shm\nsdb,/data\nudev,/dev\n",
        "Path|Mount",
        ["sda|/", "tmpfs|/dev/shm", "sdb|/data", "udev|/dev"],
    ),
    "objects in cells": (
        'key,json\nalpha,"{""a"": {""b"": ""c""}}"\nbeta,"{""a"": {}}"\ngamma,"{}"\ndelta,"{}"\n',
        "key|json",
        ['alpha|{"a": {"b": "c"}}', 'beta|{"a": {}}', "gamma|{}", "delta|{}"],
    ),
    "two dots for a count": (
        "Area,Births\nAshton,..\nBarton,141\nColby,320\nDenham,66\n",
        "Area|Births",
        ["Ashton|..", "Barton|141", "Colby|320", "Denham|66"],
    ),
    "x for two counts": (
        "Ward,Cases\nAshton,x\nBarton,x\nColby,4\nDenham,12\nEaston,1\n",
        "Ward|Cases",
        ["Ashton|x", "Barton|x", "Colby|4", "Denham|12", "Easton|1"],
    ),
    "two dots in all columns": (
        "Area,Births,Deaths\nAshton,..,..\nBarton,141,8\nColby,320,9\nDenham,66,4\n",
        "Area|Births|Deaths",
        ["Ashton|..|..", "Barton|141|8", "Colby|320|9", "Denham|66|4"],
    ),
    "years over repeating rates": (
        "Country,2018,2019\nBelgium,11.4,11.5\nDenmark,5.8,5.8\n",
        "Country|2018|2019",
        ["Belgium|11.4|11.5", "Denmark|5.8|5.8"],
    ),
    "years over repeating rates, four rows": (
        "Country,2018,2019\nAustria,8.8,8.9\nBelgium,11.4,11.5\nCyprus,0.9,0.9\nDenmark,5.8,5.8\n",
        "Country|2018|2019",
        ["Austria|8.8|8.9", "Belgium|11.4|11.5", "Cyprus|0.9|0.9", "Denmark|5.8|5.8"],
    ),
    "names over repeating rates": (
        "station,min,max\nLeeds,1.2,3.4\nYork,2.2,2.2\nHull,3.1,3.1\n",
        "station|min|max",
        ["Leeds|1.2|3.4", "York|2.2|2.2", "Hull|3.1|3.1"],
    ),
    "short names over repeating rates": (
        "Country,a,b\nAustria,8.8,8.9\nCyprus,0.9,0.9\nDenmark,5.8,5.8\nFrance,6.1,6.2\nSpain,7.1,7.1\n",
        "Country|a|b",
        ["Austria|8.8|8.9", "Cyprus|0.9|0.9", "Denmark|5.8|5.8", "France|6.1|6.2", "Spain|7.1|7.1"],
    ),
    "two dashes below": (
        "Area,Births,Deaths,Moves\nEaston,-,10.7,8.0\nGrantham,15.5,-,-\n",
        "Area|Births|Deaths|Moves",
        ["Easton|-|10.7|8.0", "Grantham|15.5|-|-"],
    ),
    "counts, then dashes": (
        "Area,Births\nAshton,125\nBarton,7\nColby,-\nDenham,-\nEaston,-\n",
        "Area|Births",
        ["Ashton|125", "Barton|7", "Colby|-", "Denham|-", "Easton|-"],
    ),
    "first row lacks a delimiter": (
        "date,time,qty,id,url\n09/02/201812:23,6,M8570,http://a.b/0\n10/02/2018,13:05,2,P1234,http://a.b/1\n11/02/2018,09:41,7,C9876,http://a.b/2\n12/02/2018,22:10,1,C1111,http://a.b/3\n",
        "date|time|qty|id|url",
        [
            "10/02/2018|13:05|2|P1234|http://a.b/1",
            "11/02/2018|09:41|7|C9876|http://a.b/2",
            "12/02/2018|22:10|1|C1111|http://a.b/3",
        ],
    ),
    "first row has another delimiter": (
        "date,time,qty\n09/02/2018;12:23;6\n10/02/2018,13:05,2\n11/02/2018,09:41,7\n",
        "date|time|qty",
        ["10/02/2018|13:05|2", "11/02/2018|09:41|7"],
    ),
    "first row has another quote": (
        "id,text,price,url\n'1','a, b','2.5','http://x.y/1'\n2,\"c, d\",3.5,http://x.y/2\n3,\"e, f\",4.5,http://x.y/3\n4,\"g, h\",5.5,http://x.y/4\n",
        "id|text|price|url",
        ["2|c, d|3.5|http://x.y/2", "3|e, f|4.5|http://x.y/3", "4|g, h|5.5|http://x.y/4"],
    ),
    "one year": (
        "Country,2015\nAustria,29.7\nBelgium,7.3\nCyprus,1.2\n",
        "Country|2015",
        ["Austria|29.7", "Belgium|7.3", "Cyprus|1.2"],
    ),
    "one year behind a code": (
        "Country,Code,2015\nAustria,AUT,29.7\nBelgium,BEL,7.3\nCyprus,CYP,1.2\n",
        "Country|Code|2015",
        ["Austria|AUT|29.7", "Belgium|BEL|7.3", "Cyprus|CYP|1.2"],
    ),
    "years over colons": (
        "Country,2018,2019\nBelgium,11.4,:\nCyprus,:,0.9\nDenmark,5.7,5.8\n",
        "Country|2018|2019",
        ["Belgium|11.4|:", "Cyprus|:|0.9", "Denmark|5.7|5.8"],
    ),
    "years over two dots": (
        "Country,2018,2019\nAustria,..,89\nBelgium,114,115\nCyprus,9,..\nDenmark,58,58\nSpain,12,13\n",
        "Country|2018|2019",
        ["Austria|..|89", "Belgium|114|115", "Cyprus|9|..", "Denmark|58|58", "Spain|12|13"],
    ),
    "R rows by name": (
        "mpg\tcyl\nMazda RX4\t21\t6\nDatsun 710\t22.8\t4\nValiant\t18.1\t6\n",
        "|mpg|cyl",
        ["Mazda RX4|21|6", "Datsun 710|22.8|4", "Valiant|18.1|6"],
    ),
    "R rows by name, quoted": (
        '"mpg" "cyl"\n"Mazda RX4" 21 6\n"Datsun 710" 22.8 4\n"Valiant" 18.1 6\n"Duster" 14.3 8\n',
        "|mpg|cyl",
        ["Mazda RX4|21|6", "Datsun 710|22.8|4", "Valiant|18.1|6", "Duster|14.3|8"],
    ),
    "R rows by number": (
        "x\ty\tg\n1\t1\t0.5\ta\n2\t2\t1.0\tb\n3\t3\t1.5\ta\n4\t4\t2.0\tb\n",
        "|x|y|g",
        ["1|1|0.5|a", "2|2|1.0|b", "3|3|1.5|a", "4|4|2.0|b"],
    ),
    "pandas prints": (
        "    a b\nr1  1 2\nr2  3 4\nr3  5 6\nr4  7 8\n",
        "|a|b",
        ["r1|1|2", "r2|3|4", "r3|5|6", "r4|7|8"],
    ),
    "R with commas": (
        '"a","b"\n"1",1.5,"x"\n"2",2.5,"y"\n"3",3.5,"z"\n"4",4.5,"w"\n',
        "|a|b",
        ["1|1.5|x", "2|2.5|y", "3|3.5|z", "4|4.5|w"],
    ),
    "pairs behind the names": (
        "Code;Nom;Voix\n01;LE PEN;12;MACRON;15\n02;LE PEN;22;MACRON;25\n03;LE PEN;32;MACRON;35\n",
        "Code|Nom|Voix||",
        ["01|LE PEN|12|MACRON|15", "02|LE PEN|22|MACRON|25", "03|LE PEN|32|MACRON|35"],
    ),
    "names without the last two": (
        "id,name,town\n1,Ann,York,,\n2,Bob,Leeds,,\n3,Cid,Hull,,\n",
        "id|name|town||",
        ["1|Ann|York||", "2|Bob|Leeds||", "3|Cid|Hull||"],
    ),
    "pairs before a wider table": (
        "Year,Births\n2010,75\n2011,81\n2012,76\n2013,13\n2014,39\n\nYear,Births,Deaths\n2010,40,39\n2011,62,66\n",
        "Year|Births",
        ["2010|75", "2011|81", "2012|76", "2013|13", "2014|39"],
    ),
    "titles and two tables": (
        "Table 1\nYear;Births\n2010;2379\n2011;2457\n2012;2546\n2013;2423\n\nTable 2\nArea;Men;Women\nAshton;19.5;70.2\nBarton;81.6;73.4\n",
        "Year|Births",
        ["2010|2379", "2011|2457", "2012|2546", "2013|2423"],
    ),
    "a table before one that is wider": (
        "Year,Births,Deaths\n2010,24,67\n2011,70,84\n\nYear,Births,Deaths,Moves\n2010,52,77,36\n2011,68,34,15\n",
        "Year|Births|Deaths",
        ["2010|24|67", "2011|70|84"],
    ),
    "two tables with titles, one width": (
        "Table 1: Births\nYear,Boys,Girls\n2015,350,330\n2016,345,340\n\nTable 2: Deaths\nYear,Men,Women\n2015,250,230\n2016,245,240\n",
        "Year|Boys|Girls",
        ["2015|350|330", "2016|345|340"],
    ),
    "areas, then years": (
        "Area,Men,Women\nAshton,77.8,85.0\nBarton,66.1,23.6\n\nYear,Births,Deaths\n2010,1648,9397\n2011,1617,113\n2012,5698,4840\n",
        "Area|Men|Women",
        ["Ashton|77.8|85.0", "Barton|66.1|23.6"],
    ),
    "a numbered note": (
        "Area,Men,Women\nAshton,3,4\nBarton,4,5\n1. Includes Wales,,\n",
        "Area|Men|Women",
        ["Ashton|3|4", "Barton|4|5"],
    ),
    "a source and a copyright": (
        "Area,Men,Women\nAshton,3,4\nBarton,4,5\nSource: ONS,,\nCrown copyright,,\n",
        "Area|Men|Women",
        ["Ashton|3|4", "Barton|4|5"],
    ),
    "a title of two padded cells": (
        'T02,"Population, density",,,\nRegion,,Year,Series,Value\n1,World,2010,Pop,6956\n2,Africa,2010,Pop,1039\n12,Algeria,2015,Pop,39\n',
        "Region||Year|Series|Value",
        ["1|World|2010|Pop|6956", "2|Africa|2010|Pop|1039", "12|Algeria|2015|Pop|39"],
    ),
    "a title with a comma": (
        "Table 1, Population of England\nCode,Area,Population\nE1,Ashton,1863\nE2,Barton,5300\nE3,Colby,7138\n",
        "Code|Area|Population",
        ["E1|Ashton|1863", "E2|Barton|5300", "E3|Colby|7138"],
    ),
    "a title with commas": (
        "Births, deaths and marriages, by area, 2019\nCode,Area,Population,Date,Rate\nE1,Ashton,1863,2019-01-01,2.5\nE2,Barton,5300,2019-01-02,3.5\nE3,Colby,7138,2019-01-03,4.5\n",
        "Code|Area|Population|Date|Rate",
        ["E1|Ashton|1863|2019-01-01|2.5", "E2|Barton|5300|2019-01-02|3.5", "E3|Colby|7138|2019-01-03|4.5"],
    ),
    "not sign": (
        "ID¬Name¬City\n1¬Walton¬Leeds\n2¬Woking¬York\n3¬Bridge¬Hull\n",
        "ID|Name|City",
        ["1|Walton|Leeds", "2|Woking|York", "3|Bridge|Hull"],
    ),
    "not sign in cp1252": (
        b"ID\xacName\xacCity\n1\xacWalton\xacLeeds\n2\xacWoking\xacYork\n3\xacBridge\xacHull\n",
        "ID|Name|City",
        ["1|Walton|Leeds", "2|Woking|York", "3|Bridge|Hull"],
    ),
    "last columns are always empty": (
        'v1,v2,,,\nham,"Go until jurong point, crazy",,,\nham,Ok lar,,,\nspam,Free entry in 2 a wkly comp,,,\nham,U dun say so early hor,,,\n',
        "v1|v2|||",
        [
            "ham|Go until jurong point, crazy|||",
            "ham|Ok lar|||",
            "spam|Free entry in 2 a wkly comp|||",
            "ham|U dun say so early hor|||",
        ],
    ),
    "pairs that lack the second": (
        "0.4;0.3\n0.4;\n3.8;\n2.2;0.9\n-0.5;\n1.8;2.2\n-2.7;6.6\n3.8;\n",
        "",
        ["0.4|0.3", "0.4|", "3.8|", "2.2|0.9", "-0.5|", "1.8|2.2", "-2.7|6.6", "3.8|"],
    ),
    "header again": (
        "id;name;amount\n1;Ann;10\n2;Bob;20\nid;name;amount\n3;Cy;30\n4;Dee;40\n",
        "id|name|amount",
        ["1|Ann|10", "2|Bob|20", "3|Cy|30", "4|Dee|40"],
    ),
    "byte order mark and header again": (
        b"\xef\xbb\xbfid,name,amount\r\n1,Ann,10\r\n2,Bob,20\r\n\xef\xbb\xbfid,name,amount\r\n3,Cy,30\r\n4,Dee,40\r\n",
        "id|name|amount",
        ["1|Ann|10", "2|Bob|20", "3|Cy|30", "4|Dee|40"],
    ),
    "form feed and header again": (
        "id|name|amount\n1|Ann|10\n2|Bob|20\n\x0cid|name|amount\n3|Cy|30\n4|Dee|40\n",
        "id|name|amount",
        ["1|Ann|10", "2|Bob|20", "3|Cy|30", "4|Dee|40"],
    ),
    "SQL*Plus pages": (
        "EMPNO|ENAME\n-----|-----\n 7369|SMITH\n 7499|ALLEN\n\nEMPNO|ENAME\n-----|-----\n 7521|WARD\n 7566|JONES\n",
        "EMPNO|ENAME",
        [" 7369|SMITH", " 7499|ALLEN", " 7521|WARD", " 7566|JONES"],
    ),
    "SQL*Plus pages, padded": (
        "   ID|NAME \n-----|-----\n    1|Ann  \n    2|Bob  \n\n   ID|NAME \n-----|-----\n    3|Cy   \n    4|Dee  \n",
        "ID|NAME",
        ["    1|Ann  ", "    2|Bob  ", "    3|Cy   ", "    4|Dee  "],
    ),
    "decimal commas between blanks": (
        "1,5 2,25\n2,5 4,25\n3,5 6,25\n4,5 8,25\n",
        "",
        ["1,5|2,25", "2,5|4,25", "3,5|6,25", "4,5|8,25"],
    ),
    "decimal commas and names between blanks": (
        "Datum Ein Aus\n2023-01-01 1,10 1,20\n2023-01-02 2,10 2,20\n2023-01-03 3,10 3,20\n2023-01-04 4,10 4,20\n",
        "Datum|Ein|Aus",
        ["2023-01-01|1,10|1,20", "2023-01-02|2,10|2,20", "2023-01-03|3,10|3,20", "2023-01-04|4,10|4,20"],
    ),
    "decimal commas in aligned columns": (
        "         1,5        2,25\n         2,5        4,25\n         3,5        6,25\n        14,5        8,25\n",
        "",
        ["1,5|2,25", "2,5|4,25", "3,5|6,25", "14,5|8,25"],
    ),
    "IIS log": (
        "#Fields: date time c-ip\n2023-03-06 10:00:00 10.0.0.1\n2023-03-06 10:00:01 10.0.0.2\n2023-03-06 10:00:02 10.0.0.3\n2023-03-06 10:00:03 10.0.0.1\n",
        "date|time|c-ip",
        [
            "2023-03-06|10:00:00|10.0.0.1",
            "2023-03-06|10:00:01|10.0.0.2",
            "2023-03-06|10:00:02|10.0.0.3",
            "2023-03-06|10:00:03|10.0.0.1",
        ],
    ),
    "Zeek log": (
        "#fields\tts\tuid\tproto\n#types\ttime\tstring\tenum\n1.5\tCa\ttcp\n2.5\tCb\tudp\n3.5\tCc\ttcp\n4.5\tCd\ttcp\n#close\t2023-03-06\n",
        "ts|uid|proto",
        ["1.5|Ca|tcp", "2.5|Cb|udp", "3.5|Cc|tcp", "4.5|Cd|tcp"],
    ),
    "CloudFront log": (
        "#Version: 1.0\n#Fields: date time x-edge-location sc-bytes\n2023-03-06\t10:00:00\tFRA50\t100\n2023-03-06\t10:00:01\tFRA50\t200\n2023-03-06\t10:00:02\tFRA50\t300\n2023-03-06\t10:00:03\tFRA50\t400\n",
        "date|time|x-edge-location|sc-bytes",
        [
            "2023-03-06|10:00:00|FRA50|100",
            "2023-03-06|10:00:01|FRA50|200",
            "2023-03-06|10:00:02|FRA50|300",
            "2023-03-06|10:00:03|FRA50|400",
        ],
    ),
    "two marked lines of names": (
        "#YY  MM WSPD\n#yr  mo m/s\n2023 01  3.1\n2023 02  3.2\n2023 03  3.3\n2023 04 10.4\n",
        "#YY #yr|MM mo|WSPD m/s",
        ["2023|01|3.1", "2023|02|3.2", "2023|03|3.3", "2023|04|10.4"],
    ),
    "names and units marked": (
        "#time,temp\n#s,degC\n1,20.5\n2,20.6\n3,20.7\n4,20.8\n",
        "#time #s|temp degC",
        ["1|20.5", "2|20.6", "3|20.7", "4|20.8"],
    ),
    "rows in quotes": (
        '"id,name,amount"\n"1,Ann,10"\n"2,Bob,20"\n"3,Cy,30"\n"4,Dee,40"\n',
        "id|name|amount",
        ["1|Ann|10", "2|Bob|20", "3|Cy|30", "4|Dee|40"],
    ),
    "rows in quotes, cells in doubled ones": (
        'id,name,amount\r\n"1,""Lee, Ann"",10"\r\n"2,""Bob"",20"\r\n"3,""Cy"",30"\r\n"4,""Dee"",40"\r\n',
        "id|name|amount",
        ["1|Lee, Ann|10", "2|Bob|20", "3|Cy|30", "4|Dee|40"],
    ),
    "rows in quotes and a semicolon": (
        '"id;name;amount";\n"1;Ann;10";\n"2;Bob;20";\n"3;Cy;30";\n"4;Dee;40";\n',
        "id|name|amount",
        ["1|Ann|10", "2|Bob|20", "3|Cy|30", "4|Dee|40"],
    ),
    "mysql prints": (
        "+----+------+\n| id | name |\n+----+------+\n|  1 | Ann  |\n|  2 | Bob  |\n| 10 | Cy   |\n| 11 | Dee  |\n+----+------+\n",
        "id|name",
        ["1|Ann", "2|Bob", "10|Cy", "11|Dee"],
    ),
    "Markdown": (
        "| Option | Type |\n|:--|:-:|\n| a | path |\n| b | char |\n| c | flag |\n| d | int |\n",
        "Option|Type",
        ["a|path", "b|char", "c|flag", "d|int"],
    ),
    "SAP list": (
        "---------------\n|Werk|ME|Text |\n---------------\n|1000|ST|Geh  |\n|1000|KG|Gran |\n|1200|ST|Lager|\n|1000|ST|An   |\n---------------\n",
        "Werk|ME|Text",
        ["1000|ST|Geh", "1000|KG|Gran", "1200|ST|Lager", "1000|ST|An"],
    ),
    "inches in a tab file": (
        'sku\tdesc\tp\n5\t"Quoted" start\t1\n1\tTV 4" x\t3\n2\tTV 5" x\t3\n3\tCable\t9\n4\tMount 32"\t49\n',
        "sku|desc|p",
        ['5|"Quoted" start|1', '1|TV 4" x|3', '2|TV 5" x|3', "3|Cable|9", '4|Mount 32"|49'],
    ),
    "a quote that opens nothing": (
        'a\tb\tc\n1\t"Q\t1\n2\tx 35"\t2\n3\tz\t3\n4\tw\t4\n',
        "a|b|c",
        ['1|"Q|1', '2|x 35"|2', "3|z|3", "4|w|4"],
    ),
    "angle brackets": (
        "id<>name<>amount\n1<>Ann<>10\n2<>Bob<>20\n3<>Cy<>30\n4<>Dee<>40\n",
        "id|name|amount",
        ["1|Ann|10", "2|Bob|20", "3|Cy|30", "4|Dee|40"],
    ),
    "bar caret bar": (
        "id|^|name|^|amount\n1|^|Ann|^|10\n2|^|Bob|^|20\n3|^|Cy|^|30\n4|^|Dee|^|40\n",
        "id|name|amount",
        ["1|Ann|10", "2|Bob|20", "3|Cy|30", "4|Dee|40"],
    ),
    "bar in angle brackets": (
        "id<|>name<|>amount\n1<|>Ann<|>10\n2<|>Bob<|>20\n3<|>Cy<|>30\n4<|>Dee<|>40\n",
        "id|name|amount",
        ["1|Ann|10", "2|Bob|20", "3|Cy|30", "4|Dee|40"],
    ),
    "dollars": (
        "id$$name$$amount\n1$$Ann$$10\n2$$Bob$$20\n3$$Cy$$30\n4$$Dee$$40\n",
        "id|name|amount",
        ["1|Ann|10", "2|Bob|20", "3|Cy|30", "4|Dee|40"],
    ),
    "at signs": (
        "id@@name@@amount\n1@@Ann@@10\n2@@Bob@@20\n3@@Cy@@30\n4@@Dee@@40\n",
        "id|name|amount",
        ["1|Ann|10", "2|Bob|20", "3|Cy|30", "4|Dee|40"],
    ),
    "groups behind a blank line": (
        "Name,Count\nAnn,5\n\nAnn Lee,6\nBob,7\nCy,8\n",
        "Name|Count",
        ["Ann|5", "Ann Lee|6", "Bob|7", "Cy|8"],
    ),
    "blank line below the names": (
        "Name,Mark\n\nAnn,-\nBob,x2\nCy,x3\nDee,x4\n",
        "Name|Mark",
        ["Ann|-", "Bob|x2", "Cy|x3", "Dee|x4"],
    ),
    "ruled, an empty cell": (
        "id   a       b    c\n---- ------- ---- ----\n   1 x y          z\n   2 x       y    z\n   3 x       y    z\n   4 x       y    z\n",
        "id|a|b|c",
        ["1|x y||z", "2|x|y|z", "3|x|y|z", "4|x|y|z"],
    ),
    "ruled, blanks in cells": (
        "id   name\n---- ----------\n   1 Ann Lee\n   2 Bob\n   3 Cy Poe\n   4 Dee\n",
        "id|name",
        ["1|Ann Lee", "2|Bob", "3|Cy Poe", "4|Dee"],
    ),
    "sqlcmd prints": (
        "id          name       city\n----------- ---------- ----------\n          1 Ann Lee    Rome\n          2 Bob        NULL\n          3 Cy         New York\n          4 Dee        Lund\n\n(4 rows affected)\n",
        "id|name|city",
        ["1|Ann Lee|Rome", "2|Bob|NULL", "3|Cy|New York", "4|Dee|Lund"],
    ),
    "Db2 prints": (
        "\nID          NAME       CITY\n----------- ---------- -----\n          1 Ann Lee    Rome\n          2 Bob        Bonn\n          3 Cy         -\n          4 Dee        Lund\n\n  4 record(s) selected.\n\n",
        "ID|NAME|CITY",
        ["1|Ann Lee|Rome", "2|Bob|Bonn", "3|Cy|-", "4|Dee|Lund"],
    ),
    "reStructuredText": (
        "====  ======\nid    name\n====  ======\n1     Ann\n2     Bob\n3     Cy\n4     Dee\n====  ======\n",
        "id|name",
        ["1|Ann", "2|Bob", "3|Cy", "4|Dee"],
    ),
    "mysql prints and counts": (
        "+----+------+\n| id | name |\n+----+------+\n|  1 | Ann  |\n|  2 | Bob  |\n| 10 | Cy   |\n| 11 | Dee  |\n+----+------+\n4 rows in set (0.00 sec)\n",
        "id|name",
        ["1|Ann", "2|Bob", "10|Cy", "11|Dee"],
    ),
    "a box": (
        "┌────┬──────┐\n│ id │ name │\n├────┼──────┤\n│  1 │ Ann  │\n│  2 │ Bob  │\n│  3 │ Cy   │\n└────┴──────┘\n",
        "id|name",
        ["1|Ann", "2|Bob", "3|Cy"],
    ),
    "one column in quotes": ('"a, b"\n"c, d"\n"e, f"\n', "", ["a, b", "c, d", "e, f"]),
    "one column in quotes with a name": (
        '"place"\n"Lisbon, PT, Europe"\n"Rome, IT, Europe"\n"Bonn, DE, Europe"\n',
        "place",
        ["Lisbon, PT, Europe", "Rome, IT, Europe", "Bonn, DE, Europe"],
    ),
    "Markdown with an escaped bar": ("| a | b |\n|---|---|\n| 1 | x \\| y |\n| 2 | z |\n", "a|b", ["1|x | y", "2|z"]),
}
